"""Examples of training data: the rows that each training stage keeps in its summary."""

from __future__ import annotations

from dataclasses import dataclass

from misstep.evaluation.gather import distinct
from misstep.plan.params import GridPoint
from misstep.stages.context import StageContext


@dataclass(frozen=True)
class Segment:
    """A part of a row: the prompt, the response, or one side of a pair."""

    name: str
    text: str
    tokens: int
    loss: bool
    """Whether its tokens are trained on."""


@dataclass(frozen=True)
class ShownRow:
    """One training row."""

    row: int
    tokens: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Shown:
    """The rows that one model kept."""

    arm: str
    size: int
    seed: int
    rows: tuple[ShownRow, ...]


def read_shown(ctx: StageContext, grid: tuple[GridPoint, ...]) -> list[Shown]:
    """Return the rows of one model of each arm: the one with the smallest size and the first seed that has any.

    Models that an earlier version trained have none.
    """
    found: dict[str, Shown] = {}
    for role, point in distinct(ctx, grid, "model"):
        kept = ctx.manifest_summary(role).get("shown")
        if kept and point.arm not in found:
            rows = tuple(
                ShownRow(row["row"], row["tokens"], tuple(Segment(**segment) for segment in row["segments"]))
                for row in kept
            )
            found[point.arm] = Shown(point.arm, point.size, point.seed, rows)
    order = {arm: index for index, arm in enumerate(dict.fromkeys(point.arm for point in grid))}
    return sorted(found.values(), key=lambda shown: order[shown.arm])
