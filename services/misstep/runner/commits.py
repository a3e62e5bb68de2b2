"""Which stages are committed, by a store that may not answer for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from misstep.errors import BadInput, MisstepError


class StageResults(Protocol):
    """What a run reads of the store (`misstep.artifacts.watch.StoreWatch`)."""

    def committed(self, key: str) -> bool: ...
    def committed_among(self, keys: Sequence[str]) -> frozenset[str]: ...
    def summary(self, key: str) -> Mapping[str, Any]: ...


class Commits:
    """Reads of the store in which a store that does not answer is no failure of a stage.

    Methods raise BadInput where the store cannot be used at all.

    Args:
        results: the store.
        on_silence: called with the error, once an outage.
    """

    def __init__(self, results: StageResults, on_silence: Callable[[str], None]) -> None:
        self._results, self._on_silence = results, on_silence
        self._silent = False

    def among(self, keys: Sequence[str]) -> frozenset[str]:
        """Return which of some keys are committed. Raises MisstepError where the store does not answer."""
        return self._results.committed_among(keys)

    def has(self, key: str) -> bool | None:
        """Return whether a stage is committed; None where the store does not answer."""
        try:
            committed = self._results.committed(key)
        except BadInput:
            raise
        except MisstepError as error:
            if not self._silent:
                self._on_silence(str(error))
            self._silent = True
            return None
        self._silent = False
        return committed

    def summary(self, key: str) -> dict[str, Any]:
        """Return a committed stage's counts; none where the store does not answer, since they are only shown."""
        try:
            return dict(self._results.summary(key))
        except BadInput:
            raise
        except MisstepError:
            return {}
