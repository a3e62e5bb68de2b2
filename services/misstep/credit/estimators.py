"""Decide which prefixes of a wrong response need rollouts to find its pit: searches as pure state machines.

A search receives the prover's values of the prefixes that it requested, requests the next ones, and ends with the pit.
It does not depend on the engine, the clock or the order of arrival, so the same values always give the same pit. All
three begin with the bare problem: if the prover never solved it, the response has no pit and costs nothing more.

Cost in prefixes of a response of L steps with pit t, without the bare problem: `full-scan` L-1, `sequential`
min(t, L-1), `bisection` about log2(L) + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Literal

from misstep.credit.values import first_pit

EstimatorName = Literal["full-scan", "sequential", "bisection"]
Wanted = tuple[int, ...]
Search = Generator[Wanted, Mapping[int, float], int | None]
"""Yields the prefixes (by their number of steps) whose values it needs next, receives the values known so far, and
returns the pit. Runs only if Q_0 is above zero, so that a pit exists."""


class Estimator:
    """The search for the pit of one wrong response.

    Call `start` once, then `observe` for each requested prefix, in any order, until `done`.

    Args:
        name: which search.
        steps: L, the steps of the response, at least 1; prefix L is the response itself, which needs no
            rollout.
    """

    def __init__(self, name: EstimatorName, steps: int) -> None:
        if steps < 1:
            raise ValueError("a response has at least one step")
        self.steps = steps
        self.done = False
        self.pit: int | None = None
        """1-based; None while searching, and if the prover never solved the bare problem."""
        self.q: dict[int, float] = {steps: 0.0}
        """The prover's value of every prefix known so far."""
        self._missing: set[int] = set()
        self._search = SEARCHES[name](steps)
        self._begun = False

    def start(self) -> Wanted:
        """Return the first prefixes to roll out: the bare problem."""
        return self._want((0,))

    def observe(self, prefix: int, q: float) -> Wanted:
        """Receive the value of a requested prefix; return the prefixes needed next, often none yet."""
        self._missing.remove(prefix)
        self.q[prefix] = q
        if self._missing:
            return ()
        if self.q[0] == 0:
            self.done = True
            return ()
        return self._advance()

    def _advance(self) -> Wanted:
        try:
            while True:
                wanted = self._search.send(self.q) if self._begun else next(self._search)
                self._begun = True
                if fresh := tuple(prefix for prefix in wanted if prefix not in self.q):
                    return self._want(fresh)
        except StopIteration as end:
            self.done = True
            self.pit = end.value
            return ()

    def _want(self, prefixes: Wanted) -> Wanted:
        self._missing.update(prefixes)
        return prefixes


def _full_scan(steps: int) -> Search:
    """Request every prefix at once: the reference."""
    q = yield tuple(range(steps + 1))
    return first_pit([q[prefix] for prefix in range(steps + 1)])


def _sequential(steps: int) -> Search:
    """Walk from step 1 and stop at the first prefix from which nothing was solved (as in arXiv 2404.10346).

    Exact: given the same rollouts it finds the pit of the full scan (see `values.first_pit`).
    """
    for prefix in range(1, steps):
        q = yield (prefix,)
        if q[prefix] == 0:
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
        q = yield (middle,)
        low, high = (middle, high) if q[middle] > 0 else (low, middle)
    if high + 1 < steps:
        q = yield (high + 1,)
        if q[high + 1] > 0:
            for prefix in range(1, high):
                q = yield (prefix,)
                if q[prefix] == 0:
                    return prefix
    return high


SEARCHES: dict[EstimatorName, Callable[[int], Search]] = {
    "full-scan": _full_scan,
    "sequential": _sequential,
    "bisection": _bisection,
}
