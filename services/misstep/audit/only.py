"""Which credited solutions a page may be limited to. Pure."""

from __future__ import annotations

from enum import StrEnum


class Only(StrEnum):
    """What ``--only`` takes."""

    PIT = "pit"
    NO_PIT = "no-pit"
    UNCERTAIN = "uncertain"
    DIFFERS = "differs"

    def wants(self, pit: int | None, true_pit: int | None, certainty: float | None, target_error: float | None) -> bool:
        """Return whether a solution is wanted.

        Args:
            pit: the blamed step, from 1.
            true_pit: the true first wrong step, if it is known.
            certainty: the posterior probability of the pit, if the estimator has one.
            target_error: the search ends when another pit is no likelier than this; None where it has no such target.
        """
        match self:
            case Only.PIT:
                return pit is not None
            case Only.NO_PIT:
                return pit is None
            case Only.UNCERTAIN:
                if pit is None or certainty is None or target_error is None:
                    return False
                return certainty < 1 - target_error
            case Only.DIFFERS:
                return true_pit is not None and pit != true_pit

    @property
    def words(self) -> str:
        """Name those that are wanted."""
        return _WORDS[self]


_WORDS = {
    Only.PIT: "with a pit",
    Only.NO_PIT: "without a pit",
    Only.UNCERTAIN: "whose pit is less certain than the search wanted",
    Only.DIFFERS: "whose pit is not the true first error",
}
