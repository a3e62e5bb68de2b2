"""Real tokenizers, each under the model types that use it."""

from __future__ import annotations

import pytest

from tests.real_tokenizers.models import CASES, RealTokenizer, real_tokenizer


@pytest.fixture(scope="session", params=CASES)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RealTokenizer:
    """One tokenizer under one model type."""
    return real_tokenizer(request.param, tmp_path_factory.mktemp("model"))
