"""Rules in CEL, and the expressions that they are made of."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """A CEL expression that must be true for each object of a type, and the message where it is false."""

    cel: str
    message: str
    only_new: bool = False
    """Whether edits are left to planning. Rules that read a number leave them: an Experiment stored by 0.1 has text
    there, on which the rule fails, and the server would then accept no status of that Experiment."""


OR_EDITED = " || oldSelf.hasValue()"
"""Makes a rule true for edits, also where the rest of it fails."""


def has(path: str) -> str:
    """Return a test for a field such as ``self.a.b``, whose parents may be missing too."""
    steps = path.split(".")
    return " && ".join(f"has({'.'.join(steps[: end + 1])})" for end in range(1, len(steps)))


def get(path: str, default: object) -> str:
    """Return an expression for the value of a field that may be missing, or whose parents may.

    Args:
        default: the value where it is missing: a number or an expression.
    """
    return f"({has(path)} ? {path} : {default})"


def text(value: str) -> str:
    """Return a text without quotes as a CEL literal."""
    return f"'{value}'"
