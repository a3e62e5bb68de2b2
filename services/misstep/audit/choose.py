"""Choose what a page shows: a sample by hash, spread over groups so that rare ones appear. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from misstep.terms.keyed import keyed_hash

Group = TypeVar("Group")


class Name(NamedTuple):
    """Names one sampled solution of an experiment."""

    stage: str
    """Key of the stage that decided about it."""
    problem_id: str
    sample: int


@dataclass(frozen=True, slots=True)
class Chosen(Generic[Group]):
    """Who was chosen, by group, each in the order of their hashes."""

    names: Mapping[Group, tuple[Name, ...]]
    seen: Mapping[Group, int]
    """How many there are of each group."""

    def of_stage(self, key: str) -> set[Name]:
        """Return those that one stage decided about."""
        return {name for names in self.names.values() for name in names if name.stage == key}


class Sampler(Generic[Group]):
    """Take in solutions one by one, and choose a sample of them.

    The hash of a name alone decides, so the same solutions give the same sample in any order, and a larger sample holds
    a smaller one of the same group. It holds at most ``count`` names of each group in memory.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError("a sample has at least one member")
        self._count = count
        self._seen: Counter[Group] = Counter()
        self._kept: dict[Group, list[tuple[int, Name]]] = {}

    def offer(self, group: Group, stage: str, problem_id: str, sample: int) -> None:
        """Take in one solution."""
        self._seen[group] += 1
        place = -int.from_bytes(keyed_hash(stage, problem_id, sample), "big")
        kept = self._kept.setdefault(group, [])
        if len(kept) < self._count:
            heapq.heappush(kept, (place, Name(stage, problem_id, sample)))
        elif place > kept[0][0]:
            heapq.heapreplace(kept, (place, Name(stage, problem_id, sample)))

    def chosen(self) -> Chosen[Group]:
        """Return the sample, divided among the groups by `shares`."""
        each = shares(self._seen, self._count)
        names = {
            group: tuple(name for _, name in sorted(self._kept[group], reverse=True)[:share])
            for group, share in each.items()
        }
        return Chosen(names, dict(self._seen))


def shares(sizes: Mapping[Group, int], count: int) -> dict[Group, int]:
    """Divide a count among groups as evenly as their sizes allow; small groups are served first.

    Returns:
        For each group at most its size, together the count or all there are.
    """
    order = sorted(sizes, key=lambda group: (sizes[group], str(group)))
    given, left = dict.fromkeys(sizes, 0), count
    for number, group in enumerate(order):
        given[group] = min(sizes[group], -(-left // (len(order) - number)))
        left -= given[group]
    return given
