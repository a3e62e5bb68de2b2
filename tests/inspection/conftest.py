from __future__ import annotations

import shutil

import pytest

from tests.inspection.folders import model_folder


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A tiny model folder that nobody changes."""
    return model_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it to change."""
    return shutil.copytree(made, tmp_path / "tiny")
