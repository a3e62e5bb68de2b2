from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training import small


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of random weights."""
    return small.save_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
