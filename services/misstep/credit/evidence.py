"""Count, for each prefix of a response, the known continuations that succeeded and failed.

Every response of the policy to a problem is one draw from each prefix that it passes through: a sample is a draw from
the bare problem, and if its first two steps are those of a wrong response, then also from the prefix of these two.
Given that it passes through the longer prefix, its outcome depends on that prefix only, so each response is counted
once, at the longest prefix that it shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A response of the policy to a problem, of which the outcome is known."""

    token_ids: Ids
    solved: bool


def shared_steps(token_ids: Ids, ends: Sequence[int], other: Ids) -> int:
    """Return how many whole steps of a response another response begins with.

    Args:
        token_ids: the response.
        ends: where its steps end (`misstep.credit.steps.Steps`).
        other: the other response.
    """
    begin = 0
    for number, end in enumerate(ends):
        if other[begin:end] != token_ids[begin:end]:
            return number
        begin = end
    return len(ends)


@dataclass(slots=True)
class Evidence:
    """What is known of the prefixes of one wrong response of L steps.

    ``solved[i]`` and ``failed[i]`` count the responses that share exactly the first i steps, for i = 0 .. L-1. One that
    repeats all steps is the same wrong response: it says nothing new.
    """

    token_ids: Ids
    ends: tuple[int, ...]
    solved: list[int] = field(init=False)
    failed: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.solved = [0] * len(self.ends)
        self.failed = [0] * len(self.ends)

    def add(self, known: Iterable[Known]) -> list[tuple[int, bool]]:
        """Take in responses; return, for each that says something, how many steps it shares and whether it
        succeeded."""
        places = []
        for response in known:
            place = shared_steps(self.token_ids, self.ends, response.token_ids)
            if place < len(self.ends):
                counts = self.solved if response.solved else self.failed
                counts[place] += 1
                places.append((place, response.solved))
        return places

    @property
    def deepest_success(self) -> int:
        """Return the number of steps of the longest prefix from which a success is known; 0 if there is none."""
        return max((place for place, count in enumerate(self.solved) if count), default=0)
