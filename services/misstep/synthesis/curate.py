"""The ``curate`` stage: selects the problems to learn from among all drafts, and writes the same table as ingest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from misstep.artifacts.output import Output
from misstep.artifacts.records import PROBLEMS
from misstep.errors import BadInput
from misstep.plan.params import CurateParams
from misstep.problems.overlap import overlapping
from misstep.problems.raw import normalised, problem_id
from misstep.stages.context import OneBlock, StageContext, Work
from misstep.synthesis.similar import SimilarTexts
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

DUPLICATE, NEAR, NEAR_SEED, HELD_OUT = "duplicate", "near-duplicate", "near-duplicate-of-seed", "test-overlap"
"""Reasons to leave out a draft that the teacher has finished. ``test-overlap`` also covers near-duplicates of test and
validation problems."""
SOURCE = "teacher"
HELD_OUT_COUNTS = (
    "rows", "no_question", "duplicates", "duplicates_with_another_answer", "bad_gold", "bad_gold_reasons", "remarks"
)  # fmt: skip
"""Counts by split of the problems stage that are also reported here for held-out problems."""

Row = Mapping[str, Any]


def open_work(ctx: StageContext) -> Work:
    """Return the stage's work: one block, since near-duplicates may be anywhere."""
    return _Curate(ctx)


@dataclass(frozen=True)
class Sorted:
    """Which drafts are kept, by position, and why the others are not; how many test problems they overlapped."""

    kept: Sequence[int]
    rejected: Mapping[str, int]
    touched: int


class _Curate(OneBlock):
    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, CurateParams)
        self.ctx, self.params = ctx, ctx.params

    def run(self, block: int) -> Output:
        seeds = self.ctx.read("seeds", "problems").to_pylist()
        columns = ["seed_id", "question", "gold", "solution", "kept"]
        drafts = [row for row in self.ctx.read("drafts", "drafts", columns).to_pylist() if row["kept"]]
        said = self.ctx.manifest_summary("drafts")
        held_out = [row for row in seeds if row["split"] != "train"]
        if self.params.new_problems:
            found = sort_out([row["question"] for row in drafts], seeds, self.params, self.ctx.threads)
        else:
            found = Sorted(range(len(drafts)), {}, 0)
        train = [self._problem(drafts[i]) for i in found.kept]
        rejected = Counter(said.get("rejected", {})) + Counter(found.rejected)
        if not train:
            counts = ", ".join(f"{reason}: {count}" for reason, count in rejected.most_common()) or "there were none"
            fix = "Give more seeds or another teacher; docs/teachers.md says what each reason means."
            raise BadInput("spec.teacher", f"none of its drafts gave a usable problem ({counts})", fix)
        self.ctx.progress.update(len(drafts), len(drafts), "drafts")
        return Output(
            tables={"problems": _table(train + held_out)},
            summary=self._summary(train + held_out, said, rejected, found),
        )

    def _problem(self, draft: Row) -> Row:
        new = self.params.new_problems
        return {
            "problem_id": problem_id(draft["question"]) if new else draft["seed_id"],
            "split": "train",
            "question": draft["question"],
            "gold": draft["gold"],
            "solution": draft["solution"],
            "solution_verdict": Verdict.CORRECT.value,
            "source": SOURCE,
        }

    def _summary(self, rows: Sequence[Row], said: Mapping[str, Any], rejected: Mapping[str, int], found: Sorted) -> Any:
        """The summary of the problems stage about its splits, and the teacher's counts."""
        ingested = self.ctx.manifest_summary("seeds")
        doubles = sum(found.rejected.get(reason, 0) for reason in (DUPLICATE, NEAR, NEAR_SEED))
        problems = Counter(row["split"] for row in rows)
        of_held_out = {
            name: {split: count for split, count in ingested[name].items() if split != "train"}
            for name in HELD_OUT_COUNTS
            if name in ingested
        }
        return {
            **of_held_out,
            "problems": dict(problems),
            "duplicates": of_held_out["duplicates"] | ({"train": doubles} if doubles else {}),
            "bad_gold_examples": ingested["bad_gold_examples"],
            "test_problems_in_training": found.touched,
            "left_out_of_training": found.rejected.get(HELD_OUT, 0),
            "teacher_solutions": {Verdict.CORRECT.value: problems["train"]},
            "teacher": {
                **{
                    name: said.get(name, 0)
                    for name in (
                        "seeds",
                        "drafts",
                        "repaired",
                        "prompt_tokens",
                        "generated_tokens",
                        "tokens_estimated",
                        "cost_millionths",
                    )
                },
                "requests": dict(said.get("requests", {})),
                "kept": problems["train"],
                "rejected": dict(rejected),
            },
        }


def sort_out(questions: Sequence[str], seeds: Sequence[Row], params: CurateParams, threads: int = 1) -> Sorted:
    """Decide which new questions are kept, in order: among near-duplicates the first one stays.

    Args:
        seeds: rows of the ``problems`` table from which the teacher started, of all splits.
    """
    reasons: dict[int, str] = {}
    seen = {normalised(row["question"]) for row in seeds}
    for position, question in enumerate(questions):
        text = normalised(question)
        if text in seen:
            reasons[position] = DUPLICATE
        seen.add(text)
    left = [i for i in range(len(questions)) if i not in reasons]
    # A search has no test problems: its validation problems take their place.
    judges = next((s for s in ("test", "validation") if any(row["split"] == s for row in seeds)), None)
    judged = [row["question"] for row in seeds if row["split"] == judges]
    hits, touched = overlapping([questions[i] for i in left], judged, params.overlap_ngram)
    reasons |= {left[hit]: HELD_OUT for hit in hits}
    left = [i for i in left if i not in reasons]
    similar = SimilarTexts(params.near_duplicate_percent, threads)
    similar.take([row["question"] for row in seeds])
    for position, alike in zip(left, similar.first_alike([questions[i] for i in left]), strict=True):
        if alike is not None:
            new = alike >= len(seeds)
            reasons[position] = NEAR if new else NEAR_SEED if seeds[alike]["split"] == "train" else HELD_OUT
    kept = [i for i in range(len(questions)) if i not in reasons]
    return Sorted(kept, dict(Counter(reasons.values())), touched)


def _table(rows: Sequence[Row]) -> pa.Table:
    import pyarrow as pa

    return pa.table({name: [row[name] for row in rows] for name in PROBLEMS.names}, schema=PROBLEMS)
