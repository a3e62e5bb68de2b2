"""Decide which prefixes of a wrong response to roll out: searches in a fixed order, as pure state machines.

A search learns of the prefixes that it requested whether any rollout succeeded there (Q > 0), requests the next ones,
and ends with the pit. It does not depend on the engine, the clock or the order of arrival, so the same rollouts always
give the same pit. All three begin with the bare problem: if the prover never solved it, the response has no pit and
costs nothing more. `misstep.credit.adaptive` is the search that chooses single rollouts.

Cost in prefixes of a response of L steps with pit t, without the bare problem: `full-scan` L-1, `sequential`
min(t, L-1), `bisection` about log2(L) + 1. One success proves Q > 0, so `sequential` and `bisection` end a prefix at
its first success.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Literal

OrderName = Literal["full-scan", "sequential", "bisection"]
EstimatorName = Literal["adaptive", "full-scan", "sequential", "bisection"]
Wanted = tuple[int, ...]
Search = Generator[Wanted, Mapping[int, bool], int | None]
"""Yields the prefixes (by their number of steps) that it needs next, receives whether Q > 0 for those known so far, and
returns the pit. Runs only if Q_0 is above zero, so that a pit exists."""


class Estimator:
    """The search for the pit of one wrong response.

    Call `start` once, then `observe` for each requested prefix, in any order, until `done`.

    Args:
        name: which search.
        steps: L, the steps of the response, at least 1; prefix L is the response itself, which needs no
            rollout.
        correct: whether the response is correct. Then only `full-scan` makes sense, and its pit is a step after which
            no rollout succeeded, though the response did: it was saved by luck.
    """

    def __init__(self, name: OrderName, steps: int, correct: bool = False) -> None:
        if steps < 1:
            raise ValueError("a response has at least one step")
        self.steps = steps
        self.done = False
        self._correct = correct
        self.pit: int | None = None
        """1-based; None while searching, if the prover never solved the bare problem, and for a correct response
        without a fall to zero."""
        self.alive: dict[int, bool] = {steps: correct}
        """Whether Q > 0, for every prefix known so far."""
        self._missing: set[int] = set()
        self._search = SEARCHES[name](steps)
        self._begun = False

    def start(self) -> Wanted:
        """Return the first prefixes to roll out: the bare problem."""
        return self._want((0,))

    def observe(self, prefix: int, alive: bool) -> Wanted:
        """Learn whether a requested prefix was solved; return the prefixes needed next, often none yet."""
        self._missing.remove(prefix)
        self.alive[prefix] = alive
        if self._missing:
            return ()
        if not self.alive[0] and not self._correct:
            self.done = True
            return ()
        return self._advance()

    def _advance(self) -> Wanted:
        try:
            while True:
                wanted = self._search.send(self.alive) if self._begun else next(self._search)
                self._begun = True
                if fresh := tuple(prefix for prefix in wanted if prefix not in self.alive):
                    return self._want(fresh)
        except StopIteration as end:
            self.done = True
            self.pit = end.value
            return ()

    def _want(self, prefixes: Wanted) -> Wanted:
        self._missing.update(prefixes)
        return prefixes


def _full_scan(steps: int) -> Search:
    """Request every prefix at once: the reference. The pit is the first step at which Q falls to zero
    (`misstep.credit.values.first_pit`)."""
    alive = yield tuple(range(steps + 1))
    return next((step for step in range(1, steps + 1) if alive[step - 1] and not alive[step]), None)


def _sequential(steps: int) -> Search:
    """Walk from step 1 and stop at the first prefix from which nothing was solved (as in arXiv 2404.10346).

    Exact: given the same rollouts it finds the pit of the full scan.
    """
    for prefix in range(1, steps):
        alive = yield (prefix,)
        if not alive[prefix]:
            return prefix
    return steps


def _bisection(steps: int) -> Search:
    """Bisect the range between a prefix that was solved and one that was not (as in arXiv 2406.06592).

    Assumes that Q stays zero once it is zero. The value before the pit is above zero by construction. The prefix one
    step after the pit is checked too: if it was solved, the assumption is wrong here. Then the prefixes before the pit
    are checked in order, and the first fall to zero is the pit, as in a full scan.
    """
    low, high = 0, steps
    while high - low > 1:
        middle = (low + high) // 2
        alive = yield (middle,)
        low, high = (middle, high) if alive[middle] else (low, middle)
    if high + 1 < steps:
        alive = yield (high + 1,)
        if alive[high + 1]:
            for prefix in range(1, high):
                alive = yield (prefix,)
                if not alive[prefix]:
                    return prefix
    return high


SEARCHES: dict[OrderName, Callable[[int], Search]] = {
    "full-scan": _full_scan,
    "sequential": _sequential,
    "bisection": _bisection,
}
