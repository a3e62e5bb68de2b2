"""Which training problems are the D of a grid point: one rule for sampling, training, credit and pairs."""

from __future__ import annotations

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
            "unreadable answers, test overlap and held-out problems): choose smaller sizes, or give more problems.",
        )
    ids = usable["problem_id"].to_pylist()
    row_of = {problem_id: row for row, problem_id in enumerate(ids)}
    return usable.take([row_of[i] for i in permutation(ids, subset.seed)[: subset.size]])
