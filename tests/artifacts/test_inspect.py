from __future__ import annotations

from pathlib import Path

import pytest

from misstep.artifacts import manifest as m
from misstep.artifacts import paths
from misstep.artifacts.inspect import find_key, ls, show
from misstep.artifacts.output import Output
from misstep.artifacts.progress import ProgressWriter
from misstep.errors import BadInput
from misstep.plan.kinds import StageKind
from misstep.store.base import Store
from tests.artifacts.making import commit_model, commit_samples, finish_block, frozen, sample_rows


def test_ls_shows_committed_unfinished_and_damaged(store: Store, tmp_path: Path) -> None:
    done = commit_samples(store, tmp_path, rows=(6, 4))
    begun = frozen(StageKind.SAMPLE, {"begun": 1})
    finish_block(store, begun, 1, 3, Output(tables={"samples": sample_rows(0, 3)}), tmp_path)
    damaged = "verify-" + "0" * 20
    store.put(paths.manifest(damaged), b"{")
    store.put("notes/readme.txt", b"not an artifact")
    found = {info.key: info for info in ls(store)}
    assert list(found) == sorted([done.key, begun.key, damaged])
    info = found[done.key]
    assert info.committed and info.kind == "sample" and info.name == done.name
    assert info.rows == {"samples": 10} and (info.blocks_done, info.blocks) == (2, 2)
    assert 0 < info.size < info.stored
    assert not found[begun.key].committed and (found[begun.key].blocks_done, found[begun.key].blocks) == (1, 3)
    assert found[damaged].damaged


def test_show(store: Store, tmp_path: Path) -> None:
    done = commit_model(store, tmp_path)
    shown = show(store, done.key)
    assert shown["key"] == done.key and shown["summary"] == {"loss": 0.5}
    begun = frozen(StageKind.SAMPLE, {"begun": 1})
    finish_block(store, begun, 1, 3, Output(tables={"samples": sample_rows(0, 3)}), tmp_path)
    ProgressWriter(store, begun.key, 0).update(1, 3, "blocks")
    shown = show(store, begun.key)
    assert (shown["committed"], shown["blocks_done"], shown["blocks"]) == (False, 1, 3)
    assert shown["progress"][0]["done"] == 1
    with pytest.raises(BadInput, match="artifacts ls"):
        show(store, "sample-" + "0" * 20)


def test_keys_are_found_by_a_few_letters(store: Store, tmp_path: Path) -> None:
    first = commit_samples(store, tmp_path, rows=(1,)).key
    second = commit_samples(store, tmp_path, rows=(2,)).key
    assert find_key(store, first) == first
    assert find_key(store, first[:12]) == first
    with pytest.raises(BadInput, match="2 keys begin with this"):
        find_key(store, "sample-")
    with pytest.raises(BadInput, match="No artifact's key begins with this"):
        find_key(store, "nothing")
    assert second != first


def test_a_committed_artifact_lists_nothing_twice(local: Store, tmp_path: Path) -> None:
    stage = commit_samples(local, tmp_path, rows=(3, 3, 3))
    manifest = m.read_manifest(local, stage.key)
    assert manifest is not None
    stored = {entry.path for entry in local.list(f"{stage.key}/")}
    receipts = {paths.receipt(stage.key, block, 3) for block in range(3)}
    assert stored == {paths.manifest(stage.key), *receipts, *(f"{stage.key}/{p.path}" for p in manifest.parts)}
