"""Who carries requests out: what the stage asks of either kind of teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from misstep.synthesis.budget import Share, Usage
from misstep.synthesis.drafts import Author, Draft, Seed

BUDGET = "budget"
"""Why a draft was not begun: its seed did not fit into the budget."""


@dataclass
class Work:
    """What became of some seeds."""

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
    """Answers whose tokens had to be guessed."""
    retries: dict[str, int] = field(default_factory=dict)
    """Tries that brought no answer, by reason."""


class Teacher(Protocol):
    """Carries out the recipes of one block's seeds."""

    def work(self, author: Author, seeds: Sequence[Seed], share: Share) -> Work: ...
    def close(self) -> None: ...


def left_out(seed: Seed, new_per_seed: int) -> list[Draft]:
    """The drafts of a seed that the budget leaves out."""
    return [Draft(seed.problem_id, number, reason=BUDGET) for number in range(max(1, new_per_seed))]
