"""The declared Arrow schema of every table that stages exchange.

A table is named ``<stage kind>/<table>`` in ``docs/artifacts.md``. Token ids are stored together with every text, so
that no text is tokenised twice. Offsets are token offsets unless a name says otherwise.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_ids = pa.list_(pa.int32())


def _schema(*fields: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(f[0], f[1], nullable=f[2] if len(f) > 2 else False) for f in fields])


PROBLEMS = _schema(
    ("problem_id", pa.string()),
    ("split", pa.string()),  # train | validation | test
    ("question", pa.string()),
    ("gold", pa.string()),
    ("solution", pa.string(), True),  # the teacher's
    ("solution_verdict", pa.string(), True),
    ("source", pa.string()),
)
# One row per problem that a teacher was asked to write or solve, kept or not.
DRAFTS = _schema(
    ("seed_id", pa.string()),  # the seed's problem_id
    ("draft", pa.int32()),  # 0, 1, ... of one seed
    ("written", pa.string(), True),  # the teacher's whole answer to "write a new problem"
    ("checked", pa.string(), True),  # its whole answer to "check and repair it"
    ("question", pa.string(), True),  # as it was solved; null if it was not reached
    ("repaired", pa.bool_()),  # the check changed the question
    ("solutions", pa.list_(pa.string())),  # whole answers, in the order of their index; "" where there was none
    ("answers", pa.list_(pa.string())),  # the final answer read in each, null where there is none
    ("votes", pa.int32()),  # number of solutions that reach the gold answer
    ("gold", pa.string(), True),  # the voted answer, or the seed's own
    ("solution", pa.string(), True),  # the one to imitate
    ("kept", pa.bool_()),
    ("reason", pa.string(), True),  # why it was not kept
)
SAMPLES = _schema(
    ("problem_id", pa.string()),
    ("sample", pa.int32()),
    ("prompt_ids", _ids),
    ("token_ids", _ids),  # of the response, including its end token if it has one
    ("text", pa.string()),
    ("finish_reason", pa.string()),  # stop | length
)
VERDICTS = _schema(
    ("problem_id", pa.string()),
    ("sample", pa.int32()),
    ("verdict", pa.string()),
    ("extracted", pa.string(), True),
    ("rule", pa.string()),
    ("verifier", pa.string()),
)
# One row per distinct prefix that was credited. The bare problem has step 0 and no prefix tokens.
PREFIXES = _schema(
    ("problem_id", pa.string()),
    ("prefix_id", pa.string()),  # hash of (problem_id, prefix token ids)
    ("step", pa.int32()),  # whole steps in the prefix
    ("token_ids", _ids),
    ("rollouts", pa.int32()),
    ("correct", pa.int32()),
    ("unknown", pa.int32()),  # unparsable, timed out or cut off: not correct, counted separately
    ("generated_tokens", pa.int64()),
)
# One row per negative: its steps and what the estimator found.
NEGATIVES = _schema(
    ("problem_id", pa.string()),
    ("sample", pa.int32()),
    ("token_ids", _ids),
    ("text", pa.string()),
    ("step_ends", _ids),  # L offsets, exclusive; step i is [ends[i-1], ends[i])
    ("step_texts", pa.list_(pa.string())),  # L; joined they are the text (plus the stop string that ended it, if any)
    ("prefix_ids", pa.list_(pa.string())),  # L+1: after 0, 1, ... L steps; the last is the whole response
    ("q", pa.list_(pa.float64())),  # L+1 prover values, null where there is no unbiased estimate; the last is 0
    ("advantages", pa.list_(pa.float64())),  # L, null where either value is missing
    ("alive", pa.list_(pa.float64())),  # L+1 probabilities that Q > 0 after 0, 1, ... L steps, null where not asked
    ("certainty", pa.float64(), True),  # posterior probability of the pit, if the estimator has one
    ("solved", pa.list_(pa.int32())),  # L: known successes from the prefixes of 0, 1, ... L-1 steps
    ("failed", pa.list_(pa.int32())),  # L: known failures
    ("pit", pa.int32(), True),  # 1-based step, null where there is none
    ("reason", pa.string(), True),  # why there is no pit
    ("true_pit", pa.int32(), True),  # the true first wrong step, where the task knows it
)
# One row per credited correct response. Its pit is a step that luck saved: no rollout from there succeeded, but it did.
POSITIVES = NEGATIVES
# One row per audited negative.
AUDITS = _schema(
    ("problem_id", pa.string()),
    ("sample", pa.int32()),
    ("pit", pa.int32(), True),  # credit's
    ("scan_pit", pa.int32(), True),  # that of a full scan with fresh rollouts
    ("rescan_pit", pa.int32(), True),  # that of another one; null where credit is itself a full scan
    ("steps", pa.int32()),
)
ROLLOUTS = _schema(
    ("problem_id", pa.string()),
    ("prefix_id", pa.string()),
    ("rollout", pa.int32()),
    ("token_ids", _ids),
    ("text", pa.string()),
    ("verdict", pa.string()),
    ("finish_reason", pa.string()),
)
PAIRS = _schema(
    ("pair_id", pa.string()),
    ("problem_id", pa.string()),
    ("layout", pa.string()),
    ("negative_sample", pa.int32()),  # the sample of the rejected side; of lucky-step a correct one
    ("pit", pa.int32(), True),  # the blamed step, from 1: credit's pit, or the cut of placebo-cut and oracle-pit
    ("prompt_ids", _ids),
    ("chosen_ids", _ids),
    ("rejected_ids", _ids),
    ("chosen_source", pa.string()),  # rollout | sample | teacher
    ("rejected_complete", pa.bool_()),  # False: a truncated side, which no end token may follow
    ("chosen_text", pa.string()),
    ("rejected_text", pa.string()),
    ("weight", pa.float64()),  # how much it counts in the loss, against the other pairs; above zero
)
TRAINING_LOG = _schema(
    ("step", pa.int32()),
    ("epoch", pa.float64()),
    ("loss", pa.float64()),
    ("learning_rate", pa.float64()),
    ("grad_norm", pa.float64(), True),
    ("rewards_accuracy", pa.float64(), True),  # DPO only
    ("rewards_margin", pa.float64(), True),
)
SELECTION = _schema(
    ("epoch", pa.int32()),
    ("step", pa.int32()),
    ("problems", pa.int32()),
    ("correct", pa.int32()),
    ("train_problems", pa.int32()),
    ("train_correct", pa.int32()),
    ("chosen", pa.bool_()),
    ("policy", pa.bool_()),
)
OUTCOMES = _schema(
    ("problem_id", pa.string()),
    ("samples", pa.int32()),
    ("correct", pa.int32()),
    ("wrong", pa.int32()),
    ("unparsable", pa.int32()),
    ("timeout", pa.int32()),
    ("majority_answer", pa.string(), True),
    ("majority_correct", pa.float64()),  # ties: the expected value over the tied answers
)

TABLES: dict[str, dict[str, pa.Schema]] = {
    "problems": {"problems": PROBLEMS},
    "inspect": {},
    "synthesize": {"drafts": DRAFTS},
    "curate": {"problems": PROBLEMS},
    "sample": {"samples": SAMPLES},
    "verify": {"verdicts": VERDICTS},
    "sft": {"log": TRAINING_LOG, "selection": SELECTION},
    "rft": {"log": TRAINING_LOG, "selection": SELECTION},
    "credit": {
        "prefixes": PREFIXES,
        "negatives": NEGATIVES,
        "rollouts": ROLLOUTS,
        "positives": POSITIVES,
        "positive_rollouts": ROLLOUTS,
        "audits": AUDITS,
    },
    "pairs": {"pairs": PAIRS},
    "dpo": {"log": TRAINING_LOG, "selection": SELECTION},
    "score": {"outcomes": OUTCOMES},
    "report": {},
}
"""Stage kind -> table -> schema. Models (``sft``, ``rft``, ``dpo``) also hold the files ``model/*``, and ``sft`` those
of the policy, ``policy/*``, if it is another checkpoint; ``report`` holds ``report.html``, ``results.json`` and
``results.csv``, ``inspect`` holds ``page.txt``."""

LATER_COLUMNS: dict[tuple[str, str], dict[str, Any]] = {("pairs", "pairs"): {"weight": 1.0}}
"""(stage kind, table) -> the last columns of the schema that tables of earlier releases lack, with the value that their
rows have. Finished work stays readable without them."""
