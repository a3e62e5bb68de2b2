"""Which training problems are the D of a grid point: one rule for sampling, training, credit and pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from misstep.errors import BadInput
from misstep.generation.seeds import permutation
from misstep.plan.params import SubsetParams

if TYPE_CHECKING:
    import pyarrow as pa


def train_subset(problems: pa.Table, subset: SubsetParams) -> pa.Table:
    """Take the D training problems of a seed, in that seed's order.

    Only problems whose teacher solution is correct count: every method at D learns from the same D problems.

    Args:
        problems: the ``problems`` table; rows of all splits.

    Raises:
        BadInput: there are fewer than D.
    """
    import pyarrow.compute as pc

    usable = problems.filter(
        pc.and_(pc.equal(problems["split"], "train"), pc.equal(problems["solution_verdict"], "correct"))
    )
    if usable.num_rows < subset.size:
        raise BadInput(
            "spec.problems.sizes",
            subset.size,
            f"There are {usable.num_rows} training problems with a correct teacher solution (after duplicates, "
            "unreadable answers, test overlap and held-out problems); "
            f"{_listed(without_correct_solution(problems))}: choose smaller sizes, or give more problems.",
        )
    ids = usable["problem_id"].to_pylist()
    row_of = {problem_id: row for row, problem_id in enumerate(ids)}
    return usable.take([row_of[i] for i in permutation(ids, subset.seed)[: subset.size]])


def without_correct_solution(problems: pa.Table) -> dict[str, int]:
    """Count the training problems that no model is fine-tuned on, by what is wrong: ``no solution`` -> problems."""
    counts: Counter[str] = Counter()
    for split, verdict in zip(*(problems[name].to_pylist() for name in ("split", "solution_verdict")), strict=True):
        if split == "train" and verdict != "correct":
            counts["no solution" if verdict is None else f"a solution judged {verdict}"] += 1
    return dict(sorted(counts.items()))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} have {what}" for what, count in counts.items()) or "none was left out for its solution"
