"""Uploaded copies: sent once, resumed or repaired if needed, and fetched with their digest checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from misstep.artifacts import paths
from misstep.artifacts.digest import digest_path
from misstep.artifacts.gc import apply_gc, plan_gc
from misstep.artifacts.model_cache import ModelCache
from misstep.artifacts.upload import Sent, upload
from misstep.errors import BadInput
from misstep.plan.frozen import External
from misstep.stages.externals import fetch_external
from misstep.store.base import Store
from misstep.store.description import Storage


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "weights of it").write_bytes(b"12345")
    (folder / ".hidden").write_text("not part of it")
    return folder


def send(store: Store, local: Path) -> tuple[str, list[Sent]]:
    told: list[Sent] = []
    return upload(store, local, digest_path(local), told.append), told


def test_a_copy_is_sent_once_and_has_the_same_digest(
    store: Store, storage: Storage, model: Path, tmp_path: Path
) -> None:
    digest = digest_path(model)
    path, told = send(store, model)
    assert path == f"external/{digest.removeprefix('sha256:')}"
    assert [(sent.new, sent.files, sent.bytes, sent.of_bytes) for sent in told] == [(True, 1, 2, 7), (True, 2, 7, 7)]
    assert [sent.new for sent in send(store, model)[1]] == [False, False]
    external = External(uri=f"{storage.uri}/{path}", digest=digest)
    fetched = fetch_external("source_train", external, storage, tmp_path / "scratch", ModelCache(tmp_path / "cache"))
    assert digest_path(fetched) == digest


def test_an_interrupted_upload_resumes_and_replaces_damaged_files(store: Store, model: Path) -> None:
    path, _ = send(store, model)
    store.delete(f"{path}/config.json")
    assert {sent.path: sent.new for sent in send(store, model)[1]} == {"config.json": True, "sub/weights of it": False}
    for damage in (b"1234", b"54321"):
        store.put(f"{path}/sub/weights of it", damage)
        assert {s.path: s.new for s in send(store, model)[1]} == {"config.json": False, "sub/weights of it": True}
        assert store.get(f"{path}/sub/weights of it") == b"12345"


def test_a_single_file_keeps_its_name(store: Store, storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("{}")
    path, _ = send(store, file)
    assert path == paths.external_copy(digest_path(file), "train.jsonl")
    external = External(uri=f"{storage.uri}/{path}", digest=digest_path(file))
    cache = ModelCache(tmp_path / "cache")
    assert fetch_external("source_train", external, storage, tmp_path / "s", cache).read_text() == "{}"


def test_a_damaged_copy_is_refused(store: Store, storage: Storage, model: Path, tmp_path: Path) -> None:
    path, _ = send(store, model)
    store.put(f"{path}/config.json", b"[]")
    external = External(uri=f"{storage.uri}/{path}", digest=digest_path(model))
    for role in ("model", "source_train"):
        with pytest.raises(BadInput, match="run the experiment again, or misstep upload if it is an uploaded copy"):
            fetch_external(role, external, storage, tmp_path / "scratch", ModelCache(tmp_path / "cache"))


def test_what_cannot_be_a_copy_is_refused(local: Store, model: Path) -> None:
    path, _ = send(local, model)
    local.put(f"{path}/other", b"")
    with pytest.raises(BadInput, match=r"other. This object belongs to no file of the folder: remove it"):
        send(local, model)
    with pytest.raises(BadInput, match="have just changed"):
        upload(local, model, "sha256:" + "0" * 64, print)
    (model / "back\\slash").touch()
    with pytest.raises(BadInput, match="A store cannot hold a file of that name"):
        send(local, model)


def test_copies_in_use_are_no_rubbish(store: Store, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("{}")
    kept, dropped = send(store, model)[0], send(store, file)[0]
    assert plan_gc(store, [], grace_seconds=-60) == []
    assert plan_gc(store, [], external_digests=[digest_path(model)]) == []
    removals = plan_gc(store, [], external_digests=[digest_path(model)], grace_seconds=-60)
    assert [removal.paths for removal in removals] == [(dropped,)]
    apply_gc(store, removals)
    assert [entry.path for entry in store.list("")] == [f"{kept}/config.json", f"{kept}/sub/weights of it"]
