"""Rules in CEL, and the parts that they are put together from."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """A CEL expression that must hold for each object of a type, and what to say where it does not."""

    cel: str
    message: str
    only_new: bool = False
    """Whether edits are left to planning. A rule that reads a number must leave them: an Experiment stored by 0.1 has
    text there, which makes the rule fail, and then the server would take no status of that Experiment."""


OR_EDITED = " || oldSelf.hasValue()"
"""What makes a rule hold for edits, also where the rest of it fails."""


def has(path: str) -> str:
    """Write a test for a field, as ``self.a.b``, whose parents may be missing too."""
    steps = path.split(".")
    return " && ".join(f"has({'.'.join(steps[: end + 1])})" for end in range(1, len(steps)))


def get(path: str, default: object) -> str:
    """Write an expression for a field that may be left out, or whose parents may.

    Args:
        default: what then counts: a number, or itself an expression.
    """
    return f"({has(path)} ? {path} : {default})"


def text(value: str) -> str:
    """Write a text as CEL does; it has no quotes in it."""
    return f"'{value}'"
