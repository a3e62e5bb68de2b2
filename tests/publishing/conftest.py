from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.running import Run, run
from tests.publishing.made import Made, make
from tests.publishing.writable_hub import Hub, writable_hub
from tests.stages.hub_server import GOOD

__all__ = ["run"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("published"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server, and this process's client speaking to it."""
    from huggingface_hub import constants

    with writable_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", GOOD)
        yield server


@pytest.fixture
def push(run: Run, made: Made, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Push from the folder in which the experiment ran."""
    monkeypatch.chdir(made.folder)

    def call(*argv: object) -> tuple[int, str, str]:
        return run("push", "small", *argv)

    return call
