"""What a seed decides: the random stream of each sample, and which training problems are the D of a grid point.

Sampling, training, credit and pairs all take the D problems from here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from misstep.errors import BadInput
from misstep.plan.params import SubsetParams
from misstep.terms.keyed import keyed_hash
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    import pyarrow as pa


def sample_seed(seed: int, *parts: str | int) -> int:
    """Derive a sample's own 64-bit seed from the stage's seed and the sample's identity (problem, index, ...)."""
    return int.from_bytes(keyed_hash(seed, *parts), "big")


def permutation(problem_ids: Iterable[str], seed: int) -> list[str]:
    """Order problems by a keyed hash: D problems are a prefix of 2D, and each seed has another order."""
    return sorted(problem_ids, key=lambda i: hashlib.blake2b(f"{seed}\x1f{i}".encode(), digest_size=16).digest())


def train_subset(problems: pa.Table, subset: SubsetParams) -> pa.Table:
    """Take the D training problems of a seed, in that seed's order.

    Only problems with a correct teacher solution count: every method at D learns from the same D problems.

    Args:
        problems: the ``problems`` table; rows of all splits.

    Raises:
        BadInput: there are fewer than D.
    """
    import pyarrow.compute as pc

    usable = problems.filter(
        pc.and_(pc.equal(problems["split"], "train"), pc.equal(problems["solution_verdict"], Verdict.CORRECT.value))
    )
    if usable.num_rows < subset.size:
        raise BadInput(
            "spec.problems.sizes",
            subset.size,
            f"There are {usable.num_rows} training problems with a correct teacher solution (after duplicates, "
            f"unreadable answers, test overlap and held-out problems). {without_correct_solution(problems)} Choose "
            "smaller sizes, or give more problems.",
        )
    ids = usable["problem_id"].to_pylist()
    row_of = {problem_id: row for row, problem_id in enumerate(ids)}
    return usable.take([row_of[i] for i in permutation(ids, subset.seed)[: subset.size]])


def without_correct_solution(problems: pa.Table) -> str:
    """Return a sentence for errors that says how many training problems are not usable for fine-tuning, and why."""
    counts: Counter[str] = Counter()
    for split, verdict in zip(*(problems[name].to_pylist() for name in ("split", "solution_verdict")), strict=True):
        if split == "train" and verdict != Verdict.CORRECT:
            counts["no solution" if verdict is None else verdict] += 1
    if not counts:
        return "All training problems have a correct solution."
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"Training problems without a correct solution: {counts.total()} ({listed})."
