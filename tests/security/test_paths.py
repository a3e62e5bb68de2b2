"""Someone who can write to a store chooses names in it that would write or remove files elsewhere on a reader's
disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from misstep.artifacts import manifest as m
from misstep.artifacts import paths
from misstep.artifacts.checkpoints import StoredCheckpoints
from misstep.artifacts.digest import folder_digest
from misstep.artifacts.export import export
from misstep.artifacts.gc import apply_gc, plan_gc
from misstep.artifacts.model_cache import ModelCache
from misstep.artifacts.reader import Reader
from misstep.artifacts.scratch import Scratch
from misstep.artifacts.upload import upload
from misstep.errors import BadInput, MisstepError
from misstep.models.weight_files import weight_files
from misstep.plan.frozen import External
from misstep.stages.externals import fetch_external
from misstep.store.base import Store
from misstep.store.description import Storage
from misstep.store.inside import UnsafeName, check_name, check_names, inside
from misstep.store.open import open_store
from tests.artifacts.making import commit_model
from tests.store import servers

KEY = "sft-" + "a" * 20
EVIL = b"echo pwned\n"
SHA = hashlib.sha256(EVIL).hexdigest()
OUTSIDE = [
    "../../home/file",
    "/{home}/.bashrc",
    "a/../../../home/file",
    "..",
    "",
    ".",
    "a//b",
    "\\\\host\\x",
    "a\0b",
    "C:/x",
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(Storage(uri=f"file://{tmp_path / 'store'}"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The victim's; nothing in it may change."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / ".bashrc").write_text("# mine\n")
    yield folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {".bashrc": "# mine\n"}


def plant_checkpoint(store: Store, step: int, files: list[dict[str, Any]], at: int | None = None) -> None:
    root = paths.checkpoint(KEY, step if at is None else at)
    store.put(f"{root}/files/x", EVIL)
    layout = {"processes": 1}
    store.put(f"{root}/manifest.json", json.dumps({"step": step, "files": files, "layout": layout}).encode())


def listed(name: str, **more: Any) -> dict[str, Any]:
    return {"file": name, "path": "files/x", "size": len(EVIL), "sha256": SHA, **more}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_checkpoint_overwrites_files_of_whoever_resumes(
    store: Store, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    name = name.replace("{home}", str(home))
    checkpoints = StoredCheckpoints(store, KEY, tmp_path / "scratch")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "weights").write_text("good")
    checkpoints.save(3, tmp_path / "made")
    plant_checkpoint(store, 5, [listed(name)])
    found = checkpoints.newest()
    assert found is not None
    assert found[0] == 3, "the last good one is taken"
    assert "checkpoint of step 5 is skipped" in caplog.text
    assert "check who can write there" in caplog.text


@pytest.mark.parametrize(
    "files",
    [
        [listed("a"), listed("a")],
        [listed("a"), listed("a/b")],
        [listed("a", path="../../x")],
        [listed("a", size=-1)],
        [listed("a", size=10**30)],
        [listed("a", sha256="../" * 20 + "abcd")],
        [listed(f"f{number}") for number in range(100_001)],
        [listed("a" * 300)],
        [listed("\ud800")],
    ],
    ids=["twice", "file-and-folder", "other-object", "negative", "absurd", "hash", "too-many", "too-long", "no-utf8"],
)
def test_a_checkpoint_lists_what_cannot_be(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, files: list[dict[str, Any]]
) -> None:
    """To have the stage fail for good, or take another file for one of the checkpoint's."""
    plant_checkpoint(store, 5, files)
    assert StoredCheckpoints(store, KEY, tmp_path / "scratch").newest() is None
    assert "checkpoint of step 5 is skipped" in caplog.text


def test_an_old_checkpoint_poses_as_the_newest(store: Store, tmp_path: Path) -> None:
    """To have work done again and again."""
    plant_checkpoint(store, 5, [listed("a")], at=9)
    assert StoredCheckpoints(store, KEY, tmp_path / "scratch").newest() is None


def test_an_object_that_is_longer_than_listed_fills_the_disk(tmp_path: Path, s3: Storage) -> None:
    """No more is fetched than the manifest lists."""
    store = open_store(s3)
    plant_checkpoint(store, 5, [listed("a")])
    store.put(f"{paths.checkpoint(KEY, 5)}/files/x", b"x" * (8 << 20))
    most = 0
    real = Path.replace

    def measured(self: Path, target: Path) -> Path:
        nonlocal most
        most = max(most, self.stat().st_size)
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", measured)
        assert StoredCheckpoints(store, KEY, tmp_path / "scratch").newest() is None
    assert 0 < most <= len(EVIL) + 1


@pytest.mark.parametrize("field", ["path", "file", "sha256"])
def test_an_artifact_overwrites_files_of_whoever_reads_it(tmp_path: Path, s3: Storage, home: Path, field: str) -> None:
    """By the name of a model's file, or by its hash, which names folders of the reader's cache: what did not fit the
    hash was written first and removed afterwards."""
    store = open_store(s3)
    stage = commit_model(store, tmp_path)
    document = json.loads(store.get(paths.manifest(stage.key)))
    value = f"/{home}" if field == "sha256" else f"model/../../../../../../{home}/.bashrc"
    document["parts"][0][field] = value
    document["parts"][0]["file" if field == "sha256" else "table"] = ".bashrc" if field == "sha256" else None
    store.put(paths.manifest(stage.key), json.dumps(document).encode())
    reader = Reader(store, tmp_path / "read", models=ModelCache(tmp_path / "models"))
    for act in (
        lambda: reader.folder(stage.key, "model/"),
        lambda: reader.file(stage.key, ".bashrc"),
        lambda: export(store, stage.key, None, "files", tmp_path / "out"),
    ):
        with pytest.raises(m.Damaged, match="manifest"):
            act()


@pytest.mark.parametrize("whose", ["artifact", "checkpoints"])
def test_a_link_in_a_shared_folder_leads_a_stage_or_gc_into_a_home(
    store: Store, home: Path, tmp_path: Path, whose: str
) -> None:
    """With a link in place of an artifact, `misstep artifacts gc` removed what the link led to; with one in place of
    its checkpoints, the stage itself did as it committed."""
    stage = commit_model(store, tmp_path)
    link = tmp_path / "store" / (KEY if whose == "artifact" else f"{stage.key}/checkpoints")
    link.symlink_to(home)
    inside_link = ".bashrc" if whose == "artifact" else "x"
    apply_gc(store, plan_gc(store, [stage.key], grace_seconds=-60))
    assert not [entry for entry in store.list("") if "bashrc" in entry.path]
    place = link.relative_to(tmp_path / "store").as_posix()
    for act in (store.get, store.exists, store.delete, store.local_path, lambda path: store.put(path, b"x")):
        with pytest.raises(BadInput, match="links inside a store are not followed"):
            act(f"{place}/{inside_link}")


def test_a_link_as_an_object_shows_another_file(store: Store, home: Path, tmp_path: Path) -> None:
    """Say, a secret that only the victim may read, as a file of a model that the victim exports."""
    stage = commit_model(store, tmp_path)
    part = next(part for part in m.read_manifest(store, stage.key).parts if part.file == "model/config.json")  # type: ignore[union-attr]
    there = tmp_path / "store" / stage.key / part.path
    there.unlink()
    there.symlink_to(home / ".bashrc")
    with pytest.raises(BadInput, match="links inside a store are not followed"):
        export(store, stage.key, None, "files", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_user_of_the_machine_made_the_scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the temporary folder that all share, with links in it to files of the victim's."""
    monkeypatch.delenv("MISSTEP_SCRATCH", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Scratch(KEY, 0) as scratch:
        assert scratch.folder.is_dir()
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    (tmp_path / "misstep-4711").mkdir()
    with pytest.raises(BadInput, match=r"MISSTEP_SCRATCH.*another user made it"):
        Scratch(KEY, 0)
    (tmp_path / "misstep-4711").rmdir()
    (tmp_path / "misstep-4711").symlink_to(tmp_path)
    with pytest.raises(BadInput, match=r"MISSTEP_SCRATCH.*is a link"):
        Scratch(KEY, 0)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.moto(tmp_path_factory.mktemp("moto")) as endpoint:
        servers.make_bucket(endpoint)
        yield endpoint


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Storage:
    servers.credentials(monkeypatch)
    return servers.s3_storage(endpoint, hashlib.sha256(request.node.name.encode()).hexdigest()[:8])


def put_raw(storage: Storage, key: str, body: bytes) -> None:
    """Put an object as any client may, whatever its name."""
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=storage.endpoint, region_name="us-east-1", config=config)
    bucket, _, prefix = storage.uri.removeprefix("s3://").partition("/")
    client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=body)


@pytest.mark.parametrize("key", ["model/..%2f..%2fhome%2f.bashrc", "model//etc/x", "model/a\\..\\b", "model/C:/x"])
def test_a_models_folder_in_a_bucket_holds_names_that_lead_out(
    s3: Storage, home: Path, tmp_path: Path, key: str
) -> None:
    put_raw(s3, key.replace("%2f", "/"), EVIL)
    put_raw(s3, "model/config.json", b"{}")
    external = External(uri=f"{s3.uri}/model", digest="hub:any")
    with pytest.raises(MisstepError, match=r"model.*cannot be the (name of a file|path of a stored object)"):
        fetch_external("model", external, s3, tmp_path / "scratch", ModelCache(tmp_path / "models", 0))


def test_a_digest_names_a_folder_outside_the_cache(s3: Storage, home: Path, tmp_path: Path) -> None:
    """Whoever writes a frozen stage; the cache's own clean-up would remove what lies there."""
    put_raw(s3, "model/config.json", b"{}")
    external = External(uri=f"{s3.uri}/model", digest=f"sha256:../..{home}")
    with pytest.raises(BadInput, match=r"digest.*64 hexadecimal digits"):
        fetch_external("model", external, s3, tmp_path / "scratch", ModelCache(tmp_path / "models"))


@pytest.mark.parametrize("uri", ["s3://bucket/a/..", "s3://bucket/."])
def test_a_models_own_name_leads_out(tmp_path: Path, uri: str) -> None:
    external, storage = External(uri=uri, digest="hub:any"), Storage(uri="s3://bucket/x")
    with pytest.raises(BadInput, match="cannot be the name of a file"):
        fetch_external("model", external, storage, tmp_path / "scratch", ModelCache(tmp_path / "models", 0))


@pytest.mark.parametrize("digest", ["listed", "hub:any"])
def test_folders_that_a_console_made_are_no_files(s3: Storage, tmp_path: Path, digest: str) -> None:
    """No attack: what people do who make a folder by a click."""
    for key in ("", "model/", "model/deep/", "external/", "sft-" + "b" * 20 + "/"):
        put_raw(s3, key, b"")
    put_raw(s3, "model/config.json", b"{}")
    put_raw(s3, "model/deep/x.json", b"[]")
    if digest == "listed":
        files = {"config.json": b"{}", "deep/x.json": b"[]"}
        digest = folder_digest({name: hashlib.sha256(body).hexdigest() for name, body in files.items()})
    external = External(uri=f"{s3.uri}/model", digest=digest)
    with_cache = ModelCache(tmp_path / "models")
    folder = fetch_external("model", external, s3, tmp_path / "scratch", with_cache)
    with_cache.close()
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "config.json",
        "deep/x.json",
    ]
    store = open_store(s3)
    assert [entry.path for entry in store.list("")] == ["model/config.json", "model/deep/x.json"]
    assert plan_gc(store, [], external_digests=[], grace_seconds=-60) == []
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_bytes(b"{}")
    sha256 = hashlib.sha256(b"{}").hexdigest()
    digest = folder_digest({"train.jsonl": sha256})
    put_raw(s3, paths.external_copy(digest) + "/", b"")
    assert upload(store, tmp_path / "data", digest, lambda _: None) == paths.external_copy(digest)


@pytest.mark.parametrize("form", ["weight_map", "transformers_weights"])
@pytest.mark.parametrize(
    "name",
    [
        "../other/model.safetensors",
        "../other/model.safetensors.index.json",
        "{home}/model.safetensors",
        "a/../../other/x",
        "",
        "a\0b",
    ],
)
def test_a_models_index_names_weights_outside_its_folder(tmp_path: Path, form: str, name: str) -> None:
    """To have another team's model, which only the reader may read, trained on and handed out as this one's."""
    name = name.replace("{home}", str(tmp_path / "other"))
    config: dict[str, Any] = {}
    for folder in ("model", "other"):
        (tmp_path / folder).mkdir()
        save_file({"w": torch.zeros(1)}, tmp_path / folder / "model.safetensors")
    if form == "weight_map":
        (tmp_path / "model" / "model.safetensors").unlink()
        (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    else:
        config = {"transformers_weights": name}
    with pytest.raises(
        BadInput, match=r"model: (model.safetensors.index|config)\.json names a file in (\w+) that is not"
    ):
        weight_files(tmp_path / "model", config)


NAMES = st.text(st.sampled_from("./\\ab:C\0\x1b é\ud800"), max_size=12) | st.text(max_size=40)


@given(NAMES)
def test_whatever_is_accepted_stays_inside(name: str) -> None:
    try:
        check_name(name)
    except UnsafeName:
        return
    folder = Path("/scratch/folder")
    below = Path(os.path.normpath(folder / name))
    assert below.is_relative_to(folder)
    assert below != folder
    assert below == folder / name
    assert inside(folder, name, "field") == below


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join), max_size=4))
def test_names_that_are_accepted_together_can_be_files_together(names: list[str]) -> None:
    import tempfile

    try:
        check_names(names)
    except UnsafeName:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = inside(Path(folder), name, "field")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        assert {p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()} == set(names)
