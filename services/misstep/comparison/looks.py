"""How Experiments and their arms look in pictures that hold several of them."""

from __future__ import annotations

from collections.abc import Sequence

from misstep.comparison.compared import MOST, Compared
from misstep.evaluation.style import MARKERS, SERIES, ArmStyle, Dashes

_COLOURS = SERIES[:MOST]
_FILLS = ("full", "none", "left", "top", "right", "bottom")
_DASHES: tuple[Dashes, ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))


def experiment_colours() -> tuple[str, ...]:
    """Return the colours of Experiments, in their order."""
    return _COLOURS


def styles_of(compared: Sequence[Compared]) -> list[dict[str, ArmStyle]]:
    """Return, for each Experiment, how its arms look.

    The colour, the dashes and the filling of markers are the Experiment's; the marker is the arm's, the same in all.
    So nobody needs colours to tell two of them apart.
    """
    arms = list(dict.fromkeys(cell.arm for one in compared for cell in one.results.cells))
    return [
        {
            arm: ArmStyle(_COLOURS[index], MARKERS[arms.index(arm) % len(MARKERS)], _FILLS[index], _DASHES[index])
            for arm in arms
            if any(cell.arm == arm for cell in one.results.cells)
        }
        for index, one in enumerate(compared)
    ]
