"""Oracles of tasks that know where a response first goes wrong. Register further generated tasks here; no heavy
imports."""

from __future__ import annotations

from collections.abc import Callable

from misstep.problems import strides

Oracle = Callable[[str, str], int | None]
"""Maps a question and a response to the offset of the first character at which the response can no longer become a
right one: the length of the response if it ends too soon, None if nothing is wrong."""

ORACLES: dict[str, Oracle] = {"strides": strides.first_error, "long-strides": strides.first_error}
"""Format of the training problems -> its oracle."""
