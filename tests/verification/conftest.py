from __future__ import annotations

from collections.abc import Iterator

import pytest

from misstep.verification.extract import AnswerFormat
from misstep.verification.verifier import Verifier


@pytest.fixture(scope="session")
def boxed() -> Iterator[Verifier]:
    with Verifier(AnswerFormat.BOXED) as verifier:
        yield verifier


@pytest.fixture(scope="session")
def auto() -> Iterator[Verifier]:
    with Verifier(AnswerFormat.AUTO) as verifier:
        yield verifier


@pytest.fixture(scope="session")
def hashed() -> Iterator[Verifier]:
    with Verifier(AnswerFormat.HASH) as verifier:
        yield verifier
