"""Remote models are checked without their weights: on a server that behaves like the Hub, and in S3."""

from __future__ import annotations

import pytest

from misstep.errors import BadInput, MisstepError
from misstep.inspection.apart import inspect_apart
from misstep.inspection.model import inspect_model
from misstep.inspection.page import page
from misstep.inspection.skeleton import fetch_skeleton
from tests.inspection.folders import shard
from tests.inspection.test_model import PLAIN, byte_folder, request
from tests.stages.hub_server import COMMIT, FILES, hub
from tests.store.servers import credentials, make_bucket, moto, s3_storage

SAME = ("architecture", "parameters", "dtypes", "context", "embeddings", "text", "tied")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = byte_folder(tmp_path_factory.mktemp("model"))
    shard(folder, 2)
    return folder


def same(report, folder):
    expected = inspect_model(folder, PLAIN).as_json()
    assert {name: report[name] for name in SAME if name != "text"} == {n: expected[n] for n in SAME if n != "text"}
    assert report["text"]["prompt"] == expected["text"]["prompt"]


def test_a_model_on_the_hub(model, tmp_path, monkeypatch):
    monkeypatch.setitem(FILES, "org/real", {file.name: file.read_bytes() for file in model.iterdir()})
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with hub() as (address, _asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        answer = inspect_apart(request(f"hf://org/real@{COMMIT}"))
        same(answer["report"], model)
        assert answer["report"]["folder"] == f"hf://org/real@{COMMIT}"
        assert not list((tmp_path / "hub").rglob("*.safetensors"))
        for name, words in (("org/none", "no such model"), ("org/gated", "gated"), ("no name", "org/name")):
            with pytest.raises(BadInput, match=words):
                inspect_apart(request(f"hf://{name}@{COMMIT}"))
        with pytest.raises(MisstepError, match="503"):
            inspect_apart(request(f"hf://org/busy@{COMMIT}"))
    with pytest.raises(MisstepError, match="did not answer"):
        inspect_apart(request(f"hf://org/real@{'b' * 40}"))


def test_a_model_in_s3(model, tmp_path, monkeypatch):
    from misstep.store.open import open_store

    credentials(monkeypatch)
    with moto(tmp_path) as endpoint:
        make_bucket(endpoint)
        storage = s3_storage(endpoint, "prefix")
        place = storage.model_copy(update={"uri": f"{storage.uri}/models/one"})
        store = open_store(place)
        for file in model.iterdir():
            store.put(file.name, file.read_bytes())
        folder = fetch_skeleton("spec.policy.model", place.uri, storage, tmp_path / "copy")
        assert sum(file.stat().st_blocks for file in folder.glob("*.safetensors")) * 512 < sum(
            file.stat().st_size for file in model.glob("*.safetensors")
        )
        assert page(inspect_model(folder, PLAIN, shown_as="x")) == page(inspect_model(model, PLAIN, shown_as="x"))
        with pytest.raises(BadInput, match="no such folder"):
            fetch_skeleton("spec.policy.model", f"{storage.uri}/nothing", storage, tmp_path / "nothing")


def test_a_model_here_is_used_where_it_lies(model, tmp_path):
    assert fetch_skeleton("x", str(model), None, tmp_path / "none") == model
    assert fetch_skeleton("x", model.as_uri(), None, tmp_path / "none") == model
    assert not (tmp_path / "none").exists()
