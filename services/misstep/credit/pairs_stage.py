"""The ``pairs`` stage: preference pairs for DPO from samples, verdicts and credit."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from misstep.artifacts.output import Output
from misstep.artifacts.records import PAIRS
from misstep.credit.block import CreditedResponse
from misstep.credit.chosen import Likelihoods, Rank, rank_of
from misstep.credit.controls import AGREEMENT, CUTS, agreement, cut_counts, true_pit
from misstep.credit.layouts import (
    Answer,
    Ids,
    Pair,
    ProblemAnswers,
    by_prefix,
    distinct,
)
from misstep.credit.pair_up import ProblemPairs, pair_up, undecided
from misstep.credit.rows import Row, RowsByProblem, Verdicts, questions
from misstep.credit.selection import spread
from misstep.credit.steps import Steps
from misstep.errors import MisstepError
from misstep.generation.fingerprint import check_tokenizer, passed_on
from misstep.plan.params import PairsParams
from misstep.problems.oracles import ORACLES
from misstep.stages.context import StageContext, Work
from misstep.terms.layouts import FROM_CREDIT, LUCKY, PLACEBO, TEACHER
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

    from misstep.credit.teacher import TeacherSolutions
    from misstep.generation.engine import Engine


def open_work(ctx: StageContext) -> Work:
    """Open the pairs stage (inputs ``problems``, ``samples``, ``verdicts``; ``credit`` for the layouts that use it;
    ``policy`` where sides are chosen by likelihood or written by the teacher)."""
    return _Pairs(ctx)


class _Pairs:
    """A block is a fixed number of problems of the samples, in order. The policy is loaded only to score sides, and
    only for a wrong response that has several to choose from."""

    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, PairsParams)
        self._ctx = ctx
        self._params = ctx.params
        columns = ["sample", "prompt_ids", "token_ids", "text", "finish_reason"]
        self._samples = RowsByProblem(ctx, "samples", "samples", columns)
        self._verdicts = Verdicts(ctx)
        self._credits: RowsByProblem | None = None
        self._rollouts: RowsByProblem | None = None
        self._oracle = ORACLES[self._params.oracle] if self._params.oracle else None
        self._questions = questions(ctx) if self._oracle else {}
        self._engine: Engine | None = None
        self._likelihoods = Likelihoods(self._logprobs)
        if self._params.layout in FROM_CREDIT:
            lucky = self._params.layout == LUCKY
            columns = ["sample", "token_ids", "step_ends", "step_texts", "prefix_ids", "pit", "reason"]
            columns += ["q", "alive", "certainty"] if self._weighed else []
            columns += ["text"] if self._oracle else []
            self._credits = RowsByProblem(ctx, "credit", "positives" if lucky else "negatives", columns)
            columns = ["prefix_id", "token_ids", "text"]
            solved = {"verdict": Verdict.CORRECT.value, "finish_reason": "stop"}
            table = "positive_rollouts" if lucky else "rollouts"
            self._rollouts = RowsByProblem(ctx, "credit", table, columns, only=solved)
        self._teacher = self._open_teacher() if self._params.layout == TEACHER else None
        self._granted = self._grant()

    @property
    def _weighed(self) -> bool:
        return self._params.weight == "advantage"

    def blocks(self) -> int:
        return max(1, -(-len(self._samples.problems) // self._ctx.stage.block_rows))

    def run(self, block: int) -> Output:
        dropped: Counter[str] = Counter()
        candidates = 0
        pairs: list[Pair] = []
        placebo = self._params.layout == PLACEBO
        control: Counter[str] = Counter()
        for problem, found in self._found(block):
            kept = len(found.pairs) if self._granted is None else self._granted.get(problem.problem_id, 0)
            if placebo:
                control += cut_counts(found.pairs[:kept], problem.credited)
            elif self._oracle:
                control += agreement(problem.credited)
            candidates += found.candidates
            dropped += found.dropped
            dropped["over-max-pairs"] += len(found.pairs) - kept
            pairs += found.pairs[:kept]
        self._ctx.progress.update(block + 1, self.blocks(), "blocks")
        summary = {"layout": self._params.layout, "candidates": candidates, **_counts(pairs)}
        summary |= passed_on(self._ctx.manifest_summary("samples"))
        if self._params.chosen != "random":
            summary["chosen"] = self._params.chosen
        if self._weighed:
            summary["weight_millionths"] = sum(round(1e6 * pair.weight) for pair in pairs)
        if placebo:
            summary |= {name: control[name] for name in CUTS}
        elif self._oracle:
            summary["agreement"] = {name: control[name] for name in AGREEMENT}
        summary["dropped"] = {reason: count for reason, count in sorted(dropped.items()) if count}
        return Output(tables={"pairs": pairs_table(pairs)}, summary=summary)

    def close(self) -> None:
        """Release the model, if it was loaded."""
        if self._engine is not None:
            self._engine.close()

    def _grant(self) -> dict[str, int] | None:
        """Distribute ``max_pairs`` over the problems; None if there is no limit. This needs the number of pairs of each
        problem, so all pairs are built once to be counted. Which pairs a rule would take is left open: no rule changes
        their number."""
        if self._params.max_pairs is None:
            return None
        counts = {
            answers.problem_id: len(self._pair_up(answers, None).pairs)
            for block in range(self.blocks())
            for answers in self._problems(block)
        }
        return spread(counts, self._params.max_pairs, self._params.seed)

    def _found(self, block: int) -> Iterator[tuple[ProblemAnswers, ProblemPairs]]:
        params, problems = self._params, self._problems(block)
        if params.decoding is not None:
            self._likelihoods.learn(pair for each in problems for pair in undecided(params.layout, each, params.seed))
        rank = rank_of(params.chosen, self._likelihoods)
        for answers in problems:
            found = self._pair_up(answers, rank)
            if self._weighed:
                found.pairs = _weighed(found.pairs, answers.credited)
            yield answers, found

    def _problems(self, block: int) -> list[ProblemAnswers]:
        size = self._ctx.stage.block_rows
        ids = self._samples.problems[block * size : (block + 1) * size]
        credited = self._credits.of(ids) if self._credits else {}
        rollouts = self._rollouts.of(ids) if self._rollouts else {}
        return [
            ProblemAnswers(
                problem_id=problem,
                prompt_ids=tuple(samples[0]["prompt_ids"]),
                correct=_answers(problem, samples, self._verdicts, Verdict.CORRECT),
                wrong=_answers(problem, samples, self._verdicts, Verdict.WRONG),
                credited=[self._credited(row) for row in credited.get(problem, ())],
                solved=by_prefix(
                    (row["prefix_id"], row["token_ids"], row["text"]) for row in rollouts.get(problem, ())
                ),
                taught=self._teacher.of(problem) if self._teacher else None,
            )
            for problem, samples in self._samples.of(ids).items()
        ]

    def _pair_up(self, answers: ProblemAnswers, rank: Rank | None) -> ProblemPairs:
        params = self._params
        return pair_up(params.layout, answers, params.per_problem, params.seed, params.per_negative, rank)

    def _logprobs(self, texts: Sequence[tuple[Ids, Ids]]) -> list[list[float]]:
        """Score texts under the policy, which is loaded the first time."""
        if self._engine is None:
            from misstep.generation.engines import open_engine

            assert self._params.decoding is not None
            folder, decoding = self._ctx.model_folder("policy"), self._params.decoding
            self._engine = open_engine(folder, decoding, self._ctx.stage.resources)
            check_tokenizer(self._engine.tokenizer, "samples", self._ctx.manifest_summary("samples"))
        return self._engine.logprobs(texts)

    def _open_teacher(self) -> TeacherSolutions:
        from misstep.credit.teacher import TeacherSolutions

        assert self._params.prompt is not None
        return TeacherSolutions(self._ctx, self._ctx.model_folder("policy"), self._params.prompt)

    def _credited(self, row: Row) -> CreditedResponse:
        return CreditedResponse(
            problem_id=row["problem_id"],
            sample=row["sample"],
            token_ids=tuple(row["token_ids"]),
            steps=Steps(tuple(row["step_ends"]), tuple(row["step_texts"])),
            prefix_ids=tuple(row["prefix_ids"]),
            pit=row["pit"],
            reason=row["reason"],
            true_pit=self._true_pit(row),
            q=tuple(row.get("q", ())),
            alive=tuple(row.get("alive", ())),
            certainty=row.get("certainty"),
        )

    def _true_pit(self, row: Row) -> int | None:
        if self._oracle is None:
            return None
        return true_pit(self._oracle, self._questions[row["problem_id"]], row["text"], row["step_texts"])


def _answers(problem: str, samples: Sequence[Row], verdicts: Verdicts, verdict: Verdict) -> list[Answer]:
    """Return the distinct samples with one verdict that ended by themselves, in order."""
    return distinct(
        Answer(tuple(row["token_ids"]), row["text"], "sample", row["sample"])
        for row in sorted(samples, key=lambda row: int(row["sample"]))
        if verdicts.of(problem, row["sample"]) is verdict and row["finish_reason"] == "stop"
    )


def _weighed(pairs: Sequence[Pair], credited: Sequence[CreditedResponse]) -> list[Pair]:
    """Weigh each pair by the fall at its response's pit, also where it blames another step: so a placebo has the
    weights of the pairs that it stands against."""
    falls = {response.sample: response.fall for response in credited}
    weights = [falls[pair.negative_sample] for pair in pairs]
    if not all(weights):
        raise MisstepError("a pair has no weight: credit did not say how far the chance of success falls at its pit")
    return [replace(pair, weight=weight) for pair, weight in zip(pairs, weights, strict=True) if weight]


def _counts(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Count pairs, and the tokens of their sides: they show the cost of training, and whether one side is usually
    longer."""
    return {
        "pairs": len(pairs),
        "problems_with_pairs": len({pair.problem_id for pair in pairs}),
        "prompt_tokens": sum(len(pair.prompt_ids) for pair in pairs),
        "chosen_tokens": sum(len(pair.chosen.token_ids) for pair in pairs),
        "rejected_tokens": sum(len(pair.rejected_ids) for pair in pairs),
        "rejected_complete": sum(pair.rejected_complete for pair in pairs),
        "chosen_source": dict(sorted(Counter(pair.chosen.source for pair in pairs).items())),
    }


def pairs_table(pairs: Sequence[Pair]) -> pa.Table:
    """Return the table ``pairs``."""
    import pyarrow as pa

    rows = [
        {
            "pair_id": _pair_id(pair),
            "problem_id": pair.problem_id,
            "layout": pair.layout,
            "negative_sample": pair.negative_sample,
            "pit": pair.pit,
            "prompt_ids": pair.prompt_ids,
            "chosen_ids": pair.chosen.token_ids,
            "rejected_ids": pair.rejected_ids,
            "chosen_source": pair.chosen.source,
            "rejected_complete": pair.rejected_complete,
            "chosen_text": pair.chosen.text,
            "rejected_text": pair.rejected_text,
            "weight": pair.weight,
        }
        for pair in pairs
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def _pair_id(pair: Pair) -> str:
    digest = hashlib.blake2b(f"{pair.layout}\x1f{pair.problem_id}".encode(), digest_size=12)
    for ids in pair.identity:
        digest.update(b"\x1f" + np.asarray(ids, dtype="<i4").tobytes())
    return digest.hexdigest()
