"""The interface of both kinds of teacher, which execute requests for the stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from misstep.synthesis.budget import Share, Usage
from misstep.synthesis.drafts import Author, Draft, Seed

BUDGET = "budget"
"""The reason of a draft that was not started: its seed did not fit into the budget."""


@dataclass
class Work:
    """The results for some seeds."""

    drafts: list[Draft]
    """In the order of the seeds."""
    usage: Usage
    asked: int = 0
    """Requests answered now."""
    reused: int = 0
    """Requests answered in an earlier run."""
    failed: int = 0
    """Requests without an answer."""
    estimated: int = 0
    """Answers whose tokens had to be estimated."""
    retries: dict[str, int] = field(default_factory=dict)
    """Tries without an answer, by reason."""


class Teacher(Protocol):
    """Runs the recipes of one block's seeds."""

    def work(self, author: Author, seeds: Sequence[Seed], share: Share) -> Work: ...
    def close(self) -> None: ...


def left_out(seed: Seed, new_per_seed: int) -> list[Draft]:
    """The drafts of a seed that the budget leaves out."""
    return [Draft(seed.problem_id, number, reason=BUDGET) for number in range(max(1, new_per_seed))]
