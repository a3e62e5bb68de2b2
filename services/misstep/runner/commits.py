"""Which stages are committed, asked of a store that may be silent for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from misstep.errors import BadInput, MisstepError


class Watch(Protocol):
    """What a run asks of the store."""

    def committed(self, key: str) -> bool: ...
    def committed_among(self, keys: Sequence[str]) -> frozenset[str]: ...
    def summary(self, key: str) -> Mapping[str, Any]: ...


class Commits:
    """A store that does not answer is an outage to sit out, and no stage's failure. Methods raise BadInput where it
    cannot be used at all.

    ``tell_silence`` is called with the error, once an outage.
    """

    def __init__(self, watch: Watch, tell_silence: Callable[[str], None]) -> None:
        self._watch, self._tell_silence = watch, tell_silence
        self._silent = False

    def among(self, keys: Sequence[str]) -> frozenset[str]:
        """Return those that are committed. Raises MisstepError where the store does not answer."""
        return self._watch.committed_among(keys)

    def has(self, key: str) -> bool | None:
        """Tell whether a stage is committed; None where the store does not answer."""
        try:
            committed = self._watch.committed(key)
        except BadInput:
            raise
        except MisstepError as error:
            if not self._silent:
                self._tell_silence(str(error))
            self._silent = True
            return None
        self._silent = False
        return committed

    def summary(self, key: str) -> dict[str, Any]:
        """Return a committed stage's counts; none where the store has gone silent, for they are only shown."""
        try:
            return dict(self._watch.summary(key))
        except BadInput:
            raise
        except MisstepError:
            return {}
