"""Rules in CEL, and the parts that they are put together from."""

from __future__ import annotations

from typing import NamedTuple

METHODS = ("sft", "rft", "dpo")


class Rule(NamedTuple):
    """A CEL expression that must hold for each object of a type, and what to say where it does not."""

    cel: str
    message: str


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
