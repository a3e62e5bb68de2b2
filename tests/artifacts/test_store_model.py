"""Any sequence of operations has the same effect on every store as on a dictionary."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from misstep.store.base import MissingError, Store
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.store import servers

# Folders and files have different names: no path is both.
FOLDERS = ["", "d/", "d/e/", "d-f/"]
PATHS = [folder + name for folder in FOLDERS for name in ("x.json", "y z.json", "é.json")]
PREFIXES = [*FOLDERS, "d", "d/e", "d/x", "nothing", *PATHS[:3]]

OPERATIONS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(PATHS), st.binary(max_size=20), st.booleans()),
    st.tuples(st.just("put_file"), st.sampled_from(PATHS), st.binary(max_size=20), st.booleans()),
    st.tuples(st.just("get"), st.sampled_from(PATHS)),
    st.tuples(st.just("range"), st.sampled_from(PATHS), st.integers(0, 25), st.integers(0, 25)),
    st.tuples(st.just("list"), st.sampled_from(PREFIXES)),
    st.tuples(st.just("exists"), st.sampled_from(PATHS)),
    st.tuples(st.just("delete"), st.sampled_from(PATHS)),
)
_numbers = itertools.count()


def _same(operations: list[tuple[Any, ...]], store: Store, local: Path) -> None:
    model: dict[str, bytes] = {}
    for name, path, *rest in operations:
        if name in ("put", "put_file"):
            data, if_absent = rest
            if name == "put":
                stored = store.put(path, data, if_absent=if_absent)
            else:
                local.write_bytes(data)
                stored = store.put_file(path, local, if_absent=if_absent)
            assert stored == (not if_absent or path not in model)
            if stored:
                model[path] = data
        elif name == "get":
            _same_or_missing(partial(store.get, path), model.get(path))
        elif name == "range":
            start, length = rest
            held = None if path not in model else model[path][start : start + length]
            if length:
                _same_or_missing(partial(store.get_range, path, start, length), held)
        elif name == "list":
            expected = sorted((p for p in model if p.startswith(path)), key=str.encode)
            assert [(e.path, e.size) for e in store.list(path)] == [(p, len(model[p])) for p in expected]
        elif name == "exists":
            assert store.exists(path) == (path in model)
        else:
            store.delete(path)
            model.pop(path, None)
    assert {e.path: store.get(e.path) for e in store.list("")} == model


def _same_or_missing(act: Callable[[], bytes], expected: bytes | None) -> None:
    if expected is None:
        with pytest.raises(MissingError):
            act()
    else:
        assert act() == expected


SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@SETTINGS
@given(st.lists(OPERATIONS, max_size=20))
def test_a_folder_behaves_as_a_dictionary(tmp_path: Path, operations: list[tuple[Any, ...]]) -> None:
    _same(operations, open_store(Storage(uri=f"file://{tmp_path}/{next(_numbers)}")), tmp_path / "local")


@settings(SETTINGS, max_examples=12)
@given(st.lists(OPERATIONS, max_size=20))
def test_moto_behaves_as_a_dictionary(
    tmp_path: Path, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, operations: list[tuple[Any, ...]]
) -> None:
    servers.credentials(monkeypatch)
    _same(operations, open_store(servers.s3_storage(moto_endpoint, f"m{next(_numbers)}")), tmp_path / "local")


@settings(SETTINGS, max_examples=12)
@given(st.lists(OPERATIONS, max_size=20))
def test_versitygw_behaves_as_a_dictionary(
    tmp_path: Path, versitygw_endpoint: str, monkeypatch: pytest.MonkeyPatch, operations: list[tuple[Any, ...]]
) -> None:
    servers.credentials(monkeypatch)
    _same(operations, open_store(servers.s3_storage(versitygw_endpoint, f"m{next(_numbers)}")), tmp_path / "local")
