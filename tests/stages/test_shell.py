from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from misstep.artifacts import manifest as m
from misstep.artifacts.cache_entries import entries_in
from misstep.artifacts.digest import digest_path
from misstep.artifacts.progress import read_progress
from misstep.artifacts.reader import Reader
from misstep.artifacts.repair import repair
from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import External
from misstep.stages.shell import run_stage
from misstep.store.base import Store
from misstep.store.description import Storage
from tests.artifacts.making import commit_model, sample_rows
from tests.stages import making
from tests.stages.work import REGISTRY


def _run(stage, shard=0, **more):
    return run_stage(stage, shard, registry=REGISTRY, **more)


def _paths(store: Store) -> list[str]:
    return [entry.path for prefix in ("", ".tmp/") for entry in store.list(prefix)]


def test_a_stage_runs_once(storage: Storage, store: Store, notes: Path, tmp_path: Path) -> None:
    stage = making.samples(storage)
    result = _run(stage)
    assert result.committed and result.blocks_run == 4
    assert result.manifest == m.read_manifest(store, stage.key)
    assert result.manifest.tables() == {"samples": 12}
    assert result.manifest.summary == {"samples": 12, "unit": "rows"}
    assert result.manifest.tools["pyarrow"]
    assert result.manifest.timings.peak_memory_mib > 50  # of this process, which has pyarrow loaded
    assert notes.read_text().split("\n") == ["open sample", *(f"block {n}" for n in range(4)), "close sample", ""]
    before = _paths(store)
    assert not [path for path in before if "progress" in path or ".tmp" in path]
    again = _run(stage)
    assert again.manifest == result.manifest and again.blocks_run == 0
    assert notes.read_text().count("open") == 1
    assert _paths(store) == before
    assert os.listdir(tmp_path / "scratch") == []  # noqa: PTH208


def test_stages_read_each_other(storage: Storage, store: Store) -> None:
    first = making.samples(storage)
    second = making.verify(storage, first.key)
    third = making.score(storage, first.key, second.key)
    with pytest.raises(MisstepError, match=f"input samples of verify-s0: {first.key} is not committed") as caught:
        _run(second)
    assert caught.value.exit_code == 1
    for stage in (first, second, third):
        assert _run(stage).committed
    manifest = m.read_manifest(store, third.key)
    assert manifest is not None
    assert manifest.summary == {"samples": 12, "threads": 2, "omp": "2"}
    assert manifest.inputs == {"samples": first.key, "verdicts": second.key}
    assert m.read_manifest(store, second.key).tables() == {"verdicts": 12}  # type: ignore[union-attr]


def test_shards_make_the_same_bytes(storage: Storage, store: Store, tmp_path: Path) -> None:
    alone = making.samples(Storage(uri=f"file://{tmp_path}/alone"), blocks=5)
    expected = _run(alone).manifest.parts
    stage = making.samples(storage, blocks=5, shards=3)
    assert not _run(stage, 2).committed
    assert [h.shard for h in read_progress(store, stage.key)] == [2]
    assert not _run(stage, 0).committed
    result = _run(stage, 1)
    assert result.committed and result.blocks_run == 2
    assert result.manifest.parts == expected
    assert read_progress(store, stage.key) == []


def test_more_shards_than_blocks(storage: Storage) -> None:
    stage = making.samples(storage, blocks=1, shards=3)
    assert not _run(stage, 2).committed
    assert _run(stage, 0).committed
    assert _run(stage, 2).blocks_run == 0


def test_no_blocks_are_a_result(storage: Storage, store: Store, tmp_path: Path) -> None:
    stage = making.samples(storage, blocks=0)
    assert _run(stage).manifest.blocks == 0
    assert Reader(store, tmp_path / "r").table(stage.key, "samples").num_rows == 0
    following = making.verify(storage, stage.key)
    assert _run(following).manifest.tables() == {}


def test_shards_at_once_commit_once(storage: Storage, store: Store, tmp_path: Path) -> None:
    """Three shards, each run twice at the same time."""
    stage = making.samples(storage, blocks=7, shards=3)
    results, errors = [], []

    def shard(number: int) -> None:
        try:
            results.append(_run(stage, number))
        except MisstepError as error:
            errors.append(error)

    threads = [threading.Thread(target=shard, args=(number % 3,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    committed = m.read_manifest(store, stage.key)
    assert committed is not None
    assert {r.manifest.encode() for r in results if r.committed} == {committed.encode()}
    expected = [text for block in range(7) for text in sample_rows(1000 * block, 3)["text"].to_pylist()]
    assert Reader(store, tmp_path / "r").table(stage.key, "samples")["text"].to_pylist() == expected


@pytest.mark.parametrize(("how", "error"), [("bad-input", BadInput), ("error", ZeroDivisionError), ("disk", BadInput)])
def test_a_failing_block_loses_only_itself(
    storage: Storage, store: Store, notes: Path, monkeypatch: pytest.MonkeyPatch, how: str, error: type[Exception]
) -> None:
    stage = making.samples(storage)
    monkeypatch.setenv("WORK_FAIL", f"2:{how}")
    with pytest.raises(error):
        _run(stage)
    assert m.read_manifest(store, stage.key) is None
    assert m.finished_blocks(store, stage.key) == {4: {0, 1}}
    assert notes.read_text().endswith("close sample\n")
    monkeypatch.delenv("WORK_FAIL")
    result = _run(stage)
    assert result.committed and result.blocks_run == 2


def test_a_complete_set_of_receipts_needs_no_work(storage: Storage, store: Store, notes: Path) -> None:
    """Killed between the last receipt and the manifest: the next run only commits."""
    stage = making.samples(storage)
    expected = _run(stage).manifest
    store.delete(f"{stage.key}/manifest.json")
    result = _run(stage)
    assert result.manifest == expected and result.blocks_run == 0
    assert notes.read_text().count("open") == 1


def test_repair_recomputes_the_damaged_block_alone(storage: Storage, store: Store, notes: Path) -> None:
    stage = making.samples(storage)
    expected = _run(stage).manifest
    path = f"{stage.key}/{expected.parts[2].path}"
    whole = store.get(path)
    store.put(path, b"rubbish")
    following = making.verify(storage, stage.key)
    with pytest.raises(m.Damaged, match="--repair"):
        _run(following)
    assert repair(store, stage.key).blocks == (2,)
    notes.write_text("")
    assert _run(stage).manifest.parts == expected.parts
    assert store.get(path) == whole
    assert notes.read_text().split() == ["open", "sample", "block", "2", "close", "sample"]
    assert _run(following).committed


def test_training_resumes_from_its_checkpoint(
    storage: Storage, store: Store, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = commit_model(store, tmp_path, b"w" * 77)
    stage = making.training(storage, start.key)
    monkeypatch.setenv("WORK_KILL", "7")
    process = os.fork()
    if process == 0:
        _run(stage)
        os._exit(0)
    assert os.waitpid(process, 0)[1] == 9 << 8
    assert {e.path.split("/")[2] for e in store.list(f"{stage.key}/checkpoints/")} == {"00000004", "00000006"}
    monkeypatch.delenv("WORK_KILL")
    result = _run(stage)
    assert "resume 6" in notes.read_text()
    assert result.manifest.summary == {"start_bytes": 77}
    model = Reader(store, tmp_path / "r").file(stage.key, "model/model.safetensors")
    assert model.read_text().count(",") == 9
    assert list(store.list(f"{stage.key}/checkpoints/")) == []


def test_external_models(tmp_path: Path) -> None:
    storage = Storage(uri=f"file://{tmp_path}/store")
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"12345")
    digest = digest_path(folder)
    for uri in (str(folder), folder.as_uri(), f"file://{folder}"):
        stage = making.training(storage, External(uri=uri, digest=digest))
        assert _run(stage).manifest.summary == {"start_bytes": 5}
    assert _run(stage).manifest.externals == {"model": digest}
    (folder / "model.safetensors").write_bytes(b"another")
    other = making.training(storage.model_copy(update={"uri": f"file://{tmp_path}/other"}), stage.externals["model"])
    with pytest.raises(BadInput, match=r"external model.*changed since the plan was made"):
        _run(other)
    with pytest.raises(BadInput, match=r"external model.*no such file"):
        _run(making.training(storage, External(uri=f"{folder}2", digest="sha256:0")))


@pytest.mark.parametrize("storage", ["moto", "versitygw"], indirect=True)
def test_external_models_in_s3(storage: Storage, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"12345")
    (folder / "sub" / "config.json").write_bytes(b"{}")
    for path in ("model.safetensors", "sub/config.json"):
        store.put_file(f"uploads/model/{path}", folder / path)
    store.put("uploads/model-other/config.json", b"not part of it")
    external = External(uri=f"{storage.uri}/uploads/model", digest=digest_path(folder))
    assert _run(making.training(storage, external)).manifest.summary == {"start_bytes": 5}
    kept = entries_in(tmp_path / "scratch" / "models")
    remote = storage.uri.startswith("s3://")
    assert [f"sha256:{entry.name}" for entry in kept] == [external.digest] * remote
    assert not any(entry.in_use() for entry in kept)
    missing = External(uri=f"{storage.uri}/uploads/mod", digest="sha256:0")
    with pytest.raises(BadInput, match=r"external model.*no such object"):
        _run(making.training(storage, missing))


def test_a_model_from_the_hub_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    external = External(uri="hf://nobody/no-such-model@main", digest="hub:x")
    with pytest.raises(BadInput, match=r"external model: hf://nobody.*Give a local folder instead"):
        _run(making.training(Storage(uri=f"file://{tmp_path}/store"), external))


def test_shards_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="shards 0 to 1"):
        _run(making.samples(Storage(uri=f"file://{tmp_path}"), shards=2), 2)


def test_progress_reaches_a_listener(tmp_path: Path) -> None:
    heard = []

    class Listener:
        def update(self, done: int, total: int, unit: str, **detail: float | str) -> None:
            heard.append((done, total, unit))

    _run(making.samples(Storage(uri=f"file://{tmp_path}/s"), blocks=2, rows=2), progress=Listener())
    assert heard == [(1, 2, "samples"), (2, 2, "samples")] * 2
