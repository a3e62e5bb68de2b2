from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from misstep.store.base import Store
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.store import servers

_numbers = itertools.count()


@pytest.fixture(scope="session")
def moto_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.moto(tmp_path_factory.mktemp("moto")) as endpoint:
        servers.make_bucket(endpoint)
        yield endpoint


@pytest.fixture(scope="session")
def versitygw_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.versitygw(tmp_path_factory.mktemp("versitygw")) as endpoint:
        servers.make_bucket(endpoint)
        yield endpoint


@pytest.fixture(params=["local", "moto", "versitygw"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """An empty store of each kind."""
    if request.param == "local":
        return Storage(uri=f"file://{tmp_path / 'store'}")
    servers.credentials(monkeypatch)
    endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    return servers.s3_storage(endpoint, f"test-{next(_numbers)}")


@pytest.fixture
def store(storage: Storage) -> Store:
    return open_store(storage)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store(Storage(uri=f"file://{tmp_path / 'store'}"))
