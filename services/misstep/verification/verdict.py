"""What a verification says about one response."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata

RULES_VERSION = 1
"""Raised by hand whenever a change here can change a verdict."""


def _math_verify_version() -> str:
    try:
        return metadata.version("math-verify")
    except metadata.PackageNotFoundError:
        return "absent"


VERIFIER_VERSION = f"math-verify-{_math_verify_version()}+rules-{RULES_VERSION}"
"""Stored with each verdict: another math-verify (0.8 and 0.9 read percent signs differently) or other rules
can judge the same response differently."""


class Verdict(StrEnum):
    """Outcome of comparing a response's final answer with the gold answer.

    Only ``correct`` makes a positive and only ``wrong`` a negative. ``unparsable`` (no final answer, an
    unfinished one, or one that the rules cannot tell from the gold with certainty) and ``timeout`` (the
    comparison overran its time or memory) are evidence of neither.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with the final answer it is about and the name of the rule that decided it."""

    verdict: Verdict
    extracted: str | None
    rule: str
