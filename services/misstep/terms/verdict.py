"""The result of verifying one response."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata

from misstep.errors import MisstepError

RULES_VERSION = 2
"""Increase it whenever a code change can change a verdict."""


MATH_VERIFY_VERSION = "0.9.0"
"""The required release of math-verify; also pinned in ``pyproject.toml``."""

VERIFIER_VERSION = f"math-verify-{MATH_VERIFY_VERSION}+rules-{RULES_VERSION}"
"""Stored with each verdict and part of stage keys, because another math-verify (0.8 and 0.9 read percent signs
differently) or other rules can judge the same response differently. It does not depend on what is installed, since
planning needs no verifier."""


def check_installed() -> None:
    """Refuse another math-verify than the one that verdicts name. Raises MisstepError."""
    try:
        installed = metadata.version("math-verify")
    except metadata.PackageNotFoundError:
        installed = "none"
    if installed != MATH_VERIFY_VERSION:
        raise MisstepError(
            f"math-verify {MATH_VERIFY_VERSION} is needed to judge, installed is {installed}: "
            f"pip install math-verify=={MATH_VERIFY_VERSION}"
        )


class Verdict(StrEnum):
    """Result of comparing a response's final answer with the gold answer.

    Only ``correct`` makes a positive and only ``wrong`` a negative. ``unparsable`` (no final answer, an unfinished one,
    or one that the rules cannot distinguish from the gold with certainty) and ``timeout`` (the comparison exceeded its
    time or memory) are evidence of neither.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, with the final answer and the name of the rule that decided."""

    verdict: Verdict
    extracted: str | None
    rule: str
