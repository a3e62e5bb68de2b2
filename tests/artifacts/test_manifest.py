from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.artifacts import manifest as m
from misstep.artifacts import paths
from misstep.artifacts.output import Output
from misstep.artifacts.reader import Reader
from misstep.errors import BadInput, MisstepError
from misstep.plan.kinds import StageKind
from misstep.store.base import Store
from tests.artifacts.making import commit_model, commit_samples, finish_block, frozen, sample_rows


def test_no_manifest_no_artifact(store: Store, tmp_path: Path) -> None:
    stage = frozen(StageKind.SAMPLE, {"x": 1})
    finish_block(store, stage, 0, 2, Output(tables={"samples": sample_rows(0, 3)}), tmp_path)
    assert m.read_manifest(store, stage.key) is None
    assert m.committed_keys(store, [stage.key]) == set()
    with pytest.raises(m.NotCommittedError, match=stage.key):
        Reader(store, tmp_path / "r").rows(stage.key, "samples")
    assert m.finished_blocks(store, stage.key) == {2: {0}}
    with pytest.raises(MisstepError, match="removed in the meantime"):
        m.commit(store, stage, 2)


def test_a_manifest_says_what_is_there(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path, rows=(6, 0, 4))
    manifest = m.read_manifest(store, stage.key)
    assert manifest is not None
    assert manifest.key == stage.key and manifest.kind is StageKind.SAMPLE and manifest.params == {"rows": [6, 0, 4]}
    assert manifest.tables() == {"samples": 10}
    assert manifest.summary == {"samples": 10}
    assert manifest.timings.seconds == 1.5
    assert [part.block for part in manifest.parts] == [0, 1, 2]
    for part in manifest.parts:
        assert len(store.get(f"{stage.key}/{part.path}")) == part.size
        assert part.sha256[:16] in part.path
    assert m.committed_keys(store, [stage.key, "sample-" + "0" * 20]) == {stage.key}


def test_a_manifest_is_json_that_others_can_read(local: Store, tmp_path: Path) -> None:
    stage = commit_model(local, tmp_path)
    document = json.loads(local.get(paths.manifest(stage.key)))
    assert document["format"] == 1
    assert [part["file"] for part in document["parts"]] == ["model/config.json", "model/model.safetensors"]
    assert "table" not in document["parts"][0]


@given(st.permutations(range(5)), st.lists(st.integers(0, 50), min_size=5, max_size=5))
def test_the_order_in_which_blocks_finish_does_not_matter(order: list[int], counts: list[int]) -> None:
    receipts = [
        m.Receipt(
            block=block,
            blocks=5,
            parts=(m.Part(path=f"t/{block}", size=1, sha256="0" * 64, block=block, table="t", rows=counts[block]),),
            summary={"rows": counts[block], "by": {f"b{block % 2}": 1}, "unit": "rows"},
            tools={"pyarrow": "1" if block else "2"},
            seconds=block,
        )
        for block in order
    ]
    manifest = m.assemble(frozen(), receipts)
    assert manifest.encode() == m.assemble(frozen(), sorted(receipts, key=lambda r: r.block)).encode()
    assert manifest.summary == {"rows": sum(counts), "by": {"b0": 3, "b1": 2}, "unit": "rows"}
    assert [part.block for part in manifest.parts] == list(range(5))
    assert manifest.tables() == {"t": sum(counts)}
    assert manifest.tools == {"pyarrow": "1, 2"}
    assert m.Manifest.model_validate_json(manifest.encode()) == manifest
    for missing in range(5):
        with pytest.raises(MisstepError, match="not those of all blocks"):
            m.assemble(frozen(), [r for r in receipts if r.block != missing])


def test_none_in_parameters_is_kept() -> None:
    manifest = m.assemble(frozen(params={"limit": None}), [])
    assert m.Manifest.model_validate_json(manifest.encode()).params == {"limit": None}


def test_the_first_receipt_of_a_block_counts(store: Store, tmp_path: Path) -> None:
    """Twins whose outputs differ (as on a GPU they may): the first one's are listed, the other's never."""
    stage = frozen(StageKind.SAMPLE, {"x": 1})
    first, second = sample_rows(0, 3), sample_rows(50, 4)
    assert finish_block(store, stage, 0, 1, Output(tables={"samples": first}, summary={"n": 3}), tmp_path)
    assert not finish_block(store, stage, 0, 1, Output(tables={"samples": second}, summary={"n": 4}), tmp_path)
    assert m.commit(store, stage, 1).summary == {"n": 3}
    assert Reader(store, tmp_path / "r").table(stage.key, "samples").equals(first)


def test_a_slower_twin_after_the_commit_does_no_harm(store: Store, tmp_path: Path) -> None:
    stage = commit_samples(store, tmp_path, rows=(3, 3))
    before = store.get(paths.manifest(stage.key))
    for rows in (sample_rows(0, 3), sample_rows(700, 9)):  # the same bytes once more, and others
        finish_block(store, stage, 0, 2, Output(tables={"samples": rows}, summary={"samples": 99}), tmp_path)
    finish_block(store, stage, 1, 2, Output(tables={"samples": sample_rows(800, 1)}), tmp_path)
    assert m.commit(store, stage, 2).encode() == before
    assert store.get(paths.manifest(stage.key)) == before
    expected = [*range(3), *range(100, 103)]
    texts = Reader(store, tmp_path / "r").table(stage.key, "samples")["text"].to_pylist()
    assert texts == [f"answer {n} é" for n in expected]


def test_twins_with_other_block_sizes_do_not_mix(store: Store, tmp_path: Path) -> None:
    stage = frozen(StageKind.SAMPLE, {"x": 1})
    finish_block(store, stage, 0, 2, Output(tables={"samples": sample_rows(0, 2)}), tmp_path)
    finish_block(store, stage, 0, 1, Output(tables={"samples": sample_rows(0, 4)}), tmp_path)
    assert m.finished_blocks(store, stage.key) == {2: {0}, 1: {0}}
    assert m.commit(store, stage, 1).tables() == {"samples": 4}


@pytest.mark.parametrize("storage", ["local", "versitygw", "moto"], indirect=True)
def test_many_commit_at_once_and_agree(store: Store, tmp_path: Path) -> None:
    stage = frozen(StageKind.SAMPLE, {"x": 1})
    start, results = threading.Barrier(6), []

    def twin(number: int) -> None:
        scratch = tmp_path / str(number)
        scratch.mkdir()
        start.wait()
        for block in random.Random(number).sample(range(4), 4):
            rows = sample_rows(1000 * number + 10 * block, 5)
            output = Output(tables={"samples": rows}, summary={"samples": 5, f"by{number}": 1})
            finish_block(store, stage, block, 4, output, scratch)
        results.append(m.commit(store, stage, 4))

    threads = [threading.Thread(target=twin, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert {result.encode() for result in results} == {store.get(paths.manifest(stage.key))}
    assert results[0].summary["samples"] == 20
    assert Reader(store, tmp_path / "r").table(stage.key, "samples").num_rows == 20


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"format": 1}', b"[]", b"\xff\xfe", b'{"format": 1, "key": "x", "nonsense": 2}']
)
def test_a_damaged_manifest_is_named(local: Store, content: bytes) -> None:
    key = "sample-" + "a" * 20
    local.put(paths.manifest(key), content)
    with pytest.raises(m.Damaged, match=f"{key}/manifest.json.*--repair") as caught:
        m.read_manifest(local, key)
    assert caught.value.exit_code == 64


def test_anothers_manifest_is_named(local: Store, tmp_path: Path) -> None:
    stage = commit_samples(local, tmp_path)
    other = "sample-" + "b" * 20
    local.put(paths.manifest(other), local.get(paths.manifest(stage.key)))
    with pytest.raises(m.Damaged, match="it is the manifest of"):
        m.read_manifest(local, other)


def test_a_later_format_is_refused(local: Store, tmp_path: Path) -> None:
    stage = commit_samples(local, tmp_path)
    document = json.loads(local.get(paths.manifest(stage.key)))
    local.put(paths.manifest(stage.key), json.dumps({**document, "format": 2}).encode())
    with pytest.raises(BadInput, match="reads format 1"):
        m.read_manifest(local, stage.key)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_a_manifest_cannot_name_files_outside(path: str) -> None:
    for field in ("path", "file"):
        with pytest.raises(ValueError, match="cannot be the name of a file"):
            m.Part.model_validate({"path": "x", "size": 1, "sha256": "0", "block": 0, field: path})


def test_store_and_manifests_need_neither_pyarrow_nor_botocore() -> None:
    import os
    import subprocess
    import sys

    code = """
import sys
import misstep.artifacts.manifest, misstep.artifacts.progress, misstep.artifacts.gc, misstep.artifacts.repair
import misstep.artifacts.digest, misstep.artifacts.export, misstep.stages.main, misstep.stages.shell
from misstep.store.open import open_store
from misstep.store.description import Storage
open_store(Storage(uri="file:///nowhere")).check()
print([name for name in ("pyarrow", "botocore", "numpy", "torch") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "services"}, capture_output=True, check=True
    )
    assert done.stdout == b"[]\n"
