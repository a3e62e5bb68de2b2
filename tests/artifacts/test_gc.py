from __future__ import annotations

import time
from pathlib import Path

import pytest

from misstep.artifacts import manifest as m
from misstep.artifacts import paths
from misstep.artifacts.checkpoints import StoredCheckpoints
from misstep.artifacts.gc import apply_gc, plan_gc
from misstep.artifacts.output import Output
from misstep.artifacts.progress import ProgressWriter
from misstep.artifacts.reader import Reader
from misstep.artifacts.repair import find_damage, repair
from misstep.plan.kinds import StageKind
from misstep.store.base import Store
from tests.artifacts.making import commit_model, commit_samples, finish_block, frozen, sample_rows

LATER = time.time() + 3 * 24 * 3600


def _paths(store: Store) -> set[str]:
    return {entry.path for prefix in ("", ".tmp/") for entry in store.list(prefix)}


def test_only_what_is_not_reached_goes(store: Store, tmp_path: Path) -> None:
    kept, dropped = commit_samples(store, tmp_path), commit_model(store, tmp_path)
    store.put("notes/readme.txt", b"no artifact's")
    before = {path: store.get(path) for path in _paths(store)}
    plan = plan_gc(store, [kept.key], now=LATER)
    assert [removal.key for removal in plan] == [dropped.key]
    assert plan[0].paths[0] == paths.manifest(dropped.key)
    freed = sum(len(data) for path, data in before.items() if path.startswith(dropped.key))
    assert plan[0].size == freed
    assert {path: store.get(path) for path in _paths(store)} == before
    assert apply_gc(store, plan) == freed
    assert _paths(store) == {path for path in before if not path.startswith(dropped.key)}
    assert plan_gc(store, [kept.key], now=LATER) == []
    assert apply_gc(store, plan) == freed  # twice does no harm


def test_nothing_young_goes(store: Store, tmp_path: Path) -> None:
    kept = commit_samples(store, tmp_path)
    commit_model(store, tmp_path)
    store.put(f"{kept.key}/samples/orphan.parquet", b"x")
    store.put(".tmp/half", b"x")
    assert plan_gc(store, [kept.key]) == []
    assert plan_gc(store, [kept.key], now=time.time() + 23 * 3600) == []
    assert len(plan_gc(store, [kept.key], now=time.time() + 25 * 3600)) == 3
    assert len(plan_gc(store, [kept.key], grace_seconds=-60)) == 3


def test_leftovers_inside_a_needed_artifact_go(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path)
    needed = _paths(store)
    twin = Output(tables={"samples": sample_rows(900, 2)})
    finish_block(store, stage, 0, 2, twin, tmp_path)  # a late twin's part
    finish_block(store, stage, 0, 1, twin, tmp_path)  # a twin with other blocks, and its receipt
    ProgressWriter(store, stage.key, 0).update(1, 2, "x")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "w").write_text("x")
    StoredCheckpoints(store, stage.key, tmp_path).save(1, tmp_path / "checkpoint")
    plan = plan_gc(store, [stage.key], now=LATER)
    assert [removal.key for removal in plan] == [stage.key]
    apply_gc(store, plan)
    assert _paths(store) == needed
    assert Reader(store, tmp_path / "r").table(stage.key, "samples").num_rows == 10


def test_an_unfinished_stage_keeps_its_blocks(store: Store, tmp_path: Path) -> None:
    stage = frozen(StageKind.SAMPLE, {"x": 1})
    finish_block(store, stage, 0, 3, Output(tables={"samples": sample_rows(0, 3)}), tmp_path)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "w").write_text("x")
    StoredCheckpoints(store, stage.key, tmp_path).save(1, tmp_path / "checkpoint")
    needed = _paths(store)
    store.put(f"{stage.key}/samples/block-00001-of-00003-0123456789abcdef.parquet", b"no receipt names it")
    apply_gc(store, plan_gc(store, [stage.key], now=LATER))
    assert _paths(store) == needed
    apply_gc(store, plan_gc(store, [], now=LATER))
    assert _paths(store) == set()


def test_half_written_files_go(local: Store) -> None:
    local.put(".tmp/1234-abc", b"xyz")
    plan = plan_gc(local, [], now=LATER)
    assert [(removal.key, removal.paths, removal.size) for removal in plan] == [("", (".tmp/1234-abc",), 3)]
    apply_gc(local, plan)
    assert _paths(local) == set()


def test_repair_leaves_sound_artifacts_alone(store: Store, tmp_path: Path) -> None:
    done = commit_samples(store, tmp_path)
    begun = frozen(StageKind.SAMPLE, {"x": 1})
    finish_block(store, begun, 1, 3, Output(tables={"samples": sample_rows(0, 3)}), tmp_path)
    before = _paths(store)
    for key in (done.key, begun.key, "sample-" + "0" * 20):
        assert find_damage(store, key) == {}
        assert repair(store, key).blocks == ()
    assert _paths(store) == before


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
def test_repair_takes_back_the_damaged_block_alone(store: Store, tmp_path: Path, how: str) -> None:
    stage = commit_samples(store, tmp_path, rows=(3, 4, 5))
    whole = store.get(paths.manifest(stage.key))
    part = m.read_manifest(store, stage.key).parts[1]  # type: ignore[union-attr]
    path = f"{stage.key}/{part.path}"
    data = store.get(path)
    if how == "missing":
        store.delete(path)
    else:
        store.put(path, data[:-1] if how == "truncated" else bytes([data[0] ^ 255]) + data[1:])
    assert list(find_damage(store, stage.key)) == [path]
    repaired = repair(store, stage.key)
    assert list(repaired.damaged) == [path] and repaired.blocks == (1,)
    assert m.read_manifest(store, stage.key) is None
    assert m.finished_blocks(store, stage.key) == {3: {0, 2}}
    assert not store.exists(path)
    output = Output(tables={"samples": sample_rows(100, 4)}, summary={"samples": 4})
    assert finish_block(store, stage, 1, 3, output, tmp_path)
    m.commit(store, stage, 3)
    assert store.get(paths.manifest(stage.key)) == whole
    assert find_damage(store, stage.key) == {}


def test_repair_ended_in_between_finds_the_rest(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path)
    part = m.read_manifest(store, stage.key).parts[0]  # type: ignore[union-attr]
    store.put(f"{stage.key}/{part.path}", b"rubbish")
    store.delete(paths.receipt(stage.key, 0, 2))  # as far as the first attempt came
    assert repair(store, stage.key).blocks == (0,)
    assert m.read_manifest(store, stage.key) is None


def test_repair_of_damaged_documents(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path)
    store.put(paths.manifest(stage.key), b"{")
    assert repair(store, stage.key).blocks == ()
    assert not store.exists(paths.manifest(stage.key))
    store.put(paths.receipt(stage.key, 1, 2), b"{")
    assert repair(store, stage.key).blocks == (1,)
    assert m.finished_blocks(store, stage.key) == {2: {0}}
