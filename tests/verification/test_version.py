from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

from misstep.errors import MisstepError
from misstep.terms import verdict
from misstep.verification.verifier import Verifier


def test_the_version_that_verdicts_name_is_the_one_that_is_pinned_and_installed() -> None:
    pinned = re.search(r'"math-verify==([^"]+)"', Path("pyproject.toml").read_text())
    assert pinned is not None and pinned[1] == verdict.MATH_VERIFY_VERSION == metadata.version("math-verify")


def test_another_math_verify_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "MATH_VERIFY_VERSION", "0.0.1")
    with pytest.raises(MisstepError, match=r"math-verify 0\.0\.1 is needed"):
        Verifier()
