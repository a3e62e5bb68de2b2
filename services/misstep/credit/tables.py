"""The tables and counts of the credit stage, made from a credited block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from misstep.artifacts.records import AUDITS, NEGATIVES, POSITIVES, PREFIXES, ROLLOUTS
from misstep.credit.audit import Audited
from misstep.credit.block import CreditedBlock, CreditedResponse
from misstep.credit.refuted import Ids, refuted
from misstep.terms.first_error import PLACES, place_of

if TYPE_CHECKING:
    import pyarrow as pa


def credit_tables(block: CreditedBlock, true_pits: Sequence[int | None] = ()) -> dict[str, pa.Table]:
    """Return the tables ``prefixes``, ``negatives`` and ``rollouts``.

    Args:
        true_pits: the true first wrong step of each negative, where a task knows it.
    """
    import pyarrow as pa

    return {
        "prefixes": pa.Table.from_pylist(_prefixes(block), schema=PREFIXES),
        "negatives": pa.Table.from_pylist(_responses(block, true_pits), schema=NEGATIVES),
        "rollouts": pa.Table.from_pylist(_rollouts(block), schema=ROLLOUTS),
    }


def positive_tables(block: CreditedBlock) -> dict[str, pa.Table]:
    """Return the tables ``positives`` and ``positive_rollouts``."""
    import pyarrow as pa

    return {
        "positives": pa.Table.from_pylist(_responses(block), schema=POSITIVES),
        "positive_rollouts": pa.Table.from_pylist(_rollouts(block), schema=ROLLOUTS),
    }


def audit_table(audits: Sequence[Audited]) -> dict[str, pa.Table]:
    """Return the table ``audits``."""
    import pyarrow as pa

    return {"audits": pa.Table.from_pylist([asdict(row) for row in audits], schema=AUDITS)}


def _prefixes(block: CreditedBlock) -> list[dict[str, Any]]:
    return [
        {
            "problem_id": prefix.problem.problem_id,
            "prefix_id": prefix.prefix_id,
            "step": prefix.step,
            "token_ids": prefix.token_ids,
            "rollouts": prefix.counts.rollouts,
            "correct": prefix.counts.correct,
            "unknown": prefix.counts.unknown,
            "generated_tokens": sum(len(rollout.token_ids) for rollout in prefix.rollouts),
        }
        for prefix in block.prefixes
        if prefix.counts is not None
    ]


def _responses(block: CreditedBlock, true_pits: Sequence[int | None] = ()) -> list[dict[str, Any]]:
    rows = [
        {
            "problem_id": credited.problem_id,
            "sample": credited.sample,
            "token_ids": credited.token_ids,
            "text": credited.text,
            "step_ends": credited.steps.ends,
            "step_texts": credited.steps.texts,
            "prefix_ids": credited.prefix_ids,
            "q": credited.q,
            "advantages": credited.advantages,
            "alive": credited.alive,
            "certainty": credited.certainty,
            "solved": credited.solved,
            "failed": credited.failed,
            "pit": credited.pit,
            "reason": credited.reason,
        }
        for credited in block.negatives
    ]
    for row, true_pit in zip(rows, true_pits, strict=False):
        row["true_pit"] = true_pit
    return rows


def _rollouts(block: CreditedBlock) -> list[dict[str, Any]]:
    return [
        {
            "problem_id": prefix.problem.problem_id,
            "prefix_id": prefix.prefix_id,
            "rollout": number,
            "token_ids": rollout.token_ids,
            "text": rollout.text,
            "verdict": rollout.verdict.value,
            "finish_reason": rollout.finish_reason,
        }
        for prefix, number, rollout in block.rollouts()
    ]


def credit_counts(block: CreditedBlock) -> dict[str, Any]:
    """Count what a block cost and what it found.

    ``rollouts_unneeded`` were drawn in advance, and no negative needed them. ``prefixes`` is the number of prefixes
    rolled out; ``prefixes_unshared`` the number without sharing between negatives. ``prompt_tokens`` counts each
    rolled-out prefix, with its problem, once, like an engine that shares a prompt among its samples.
    ``scannable_prefixes`` is what a full scan would roll out; ``doubt_millionths`` is the expected number of false pits
    by the posterior, times a million. Pits are counted by step and by tenth of the response, in percent of its steps.
    """
    rolled = [prefix for prefix in block.prefixes if prefix.rollouts]
    rollouts = [rollout for prefix in rolled for rollout in prefix.rollouts]
    pits = [(credited.pit, len(credited.steps.ends)) for credited in block.negatives if credited.pit]
    steps = [len(credited.steps.ends) for credited in block.negatives]
    return {
        "negatives": len(block.negatives),
        "steps": sum(steps),
        "prefixes": len(rolled),
        "prefixes_unshared": sum(prefix.wanted for prefix in rolled),
        "rollouts": len(rollouts),
        "rollouts_unneeded": sum(prefix.unneeded for prefix in rolled),
        "generated_tokens": sum(len(rollout.token_ids) for rollout in rollouts),
        "prompt_tokens": sum(len(prefix.problem.prompt_ids) + len(prefix.token_ids) for prefix in rolled),
        "rollout_verdicts": _counted(
            rollout.verdict.value if rollout.finish_reason == "stop" else "cut_off" for rollout in rollouts
        ),
        # What a full scan would roll out.
        "scannable_prefixes": len({name for credited in block.negatives if credited.pit for name in _inner(credited)}),
        "doubt_millionths": sum(
            round(1e6 * (1 - credited.certainty)) for credited in block.negatives if credited.certainty is not None
        ),
        "pits": len(pits),
        "no_pit": _counted(credited.reason for credited in block.negatives if credited.reason),
        "pit_step": _counted(f"{pit:02d}" for pit, _ in pits),
        "pit_percent": _counted(f"{-(-10 * pit // length) * 10:03d}" for pit, length in pits),
    }


def _inner(credited: CreditedResponse) -> tuple[str, ...]:
    return credited.prefix_ids[1:-1]


def positive_counts(block: CreditedBlock) -> dict[str, int]:
    """Count what credit of correct responses cost and found: those with a step that luck saved are ``lucky``, unless
    another correct response refutes the step (`misstep.credit.refuted`)."""
    samples = {
        prefix.problem.problem_id: [known.token_ids for _, known in prefix.problem.known if known.solved]
        for prefix in block.prefixes
    }
    rollouts: dict[str, list[Ids]] = {}
    drawn = tokens = 0
    for prefix, _, rollout in block.rollouts():
        drawn += 1
        tokens += len(rollout.token_ids)
        if rollout.solved:
            rollouts.setdefault(prefix.problem.problem_id, []).append(prefix.token_ids + rollout.token_ids)

    def lucky(credited: CreditedResponse) -> bool:
        problem = credited.problem_id
        return credited.pit is not None and not refuted(
            credited.token_ids,
            credited.steps.ends[credited.pit - 1],
            samples.get(problem, ()),
            rollouts.get(problem, ()),
        )

    return {
        "responses": len(block.negatives),
        "lucky": sum(map(lucky, block.negatives)),
        "rollouts": drawn,
        "generated_tokens": tokens,
    }


def error_counts(block: CreditedBlock, true_pits: Sequence[int | None]) -> dict[str, int]:
    """Count how the pits compare with the true first errors: ``exact``, ``before``, ``after``, and ``no_pit`` for those
    of which no pit was found. Negatives of which no true error is known are left out."""
    known = zip((credited.pit for credited in block.negatives), true_pits, strict=True)
    places = Counter(place_of(pit, true) for pit, true in known if true is not None)
    return {place: places[place] for place in PLACES}


def _counted(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
