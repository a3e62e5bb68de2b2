from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.artifacts.checkpoints import Layout, StoredCheckpoints
from misstep.errors import BadInput
from misstep.store.base import Store
from misstep.store.description import Storage
from misstep.store.open import open_store

KEY = "sft-" + "c" * 20


@pytest.fixture
def checkpoints(store: Store, tmp_path: Path) -> StoredCheckpoints:
    return StoredCheckpoints(store, KEY, tmp_path / "scratch")


def _folder(tmp_path: Path, step: int, content: str | None = None) -> Path:
    folder = tmp_path / f"made-{step}-{content}"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_text(content or f"weights {step}")
    (folder / "state.json").write_text(f"{step}")
    return folder


def _content(found: tuple[int, Path] | None) -> tuple[int, str, str]:
    assert found is not None
    step, folder = found
    return step, (folder / "deep" / "weights").read_text(), (folder / "state.json").read_text()


def test_the_newest_is_found_and_two_are_kept(store: Store, checkpoints: StoredCheckpoints, tmp_path: Path) -> None:
    assert checkpoints.newest() is None
    for step in (5, 90, 100):
        checkpoints.save(step, _folder(tmp_path, step))
        assert _content(checkpoints.newest()) == (step, f"weights {step}", f"{step}")
    steps = {entry.path.split("/")[2] for entry in store.list(f"{KEY}/checkpoints/")}
    assert steps == {"00000090", "00000100"}


def test_one_without_manifest_is_never_picked(store: Store, checkpoints: StoredCheckpoints, tmp_path: Path) -> None:
    checkpoints.save(5, _folder(tmp_path, 5))
    checkpoints.save(9, _folder(tmp_path, 9))
    store.delete(f"{KEY}/checkpoints/00000009/manifest.json")
    assert _content(checkpoints.newest())[0] == 5
    store.delete(f"{KEY}/checkpoints/00000005/manifest.json")
    assert checkpoints.newest() is None


@pytest.mark.parametrize("how", ["missing", "truncated", "manifest"])
def test_a_damaged_one_is_passed_over(store: Store, checkpoints: StoredCheckpoints, tmp_path: Path, how: str) -> None:
    checkpoints.save(5, _folder(tmp_path, 5))
    checkpoints.save(9, _folder(tmp_path, 9))
    weights = next(e.path for e in store.list(f"{KEY}/checkpoints/00000009/") if e.path.endswith("weights"))
    if how == "missing":
        store.delete(weights)
    elif how == "truncated":
        store.put(weights, b"w")
    else:
        store.put(f"{KEY}/checkpoints/00000009/manifest.json", b"{")
    assert _content(checkpoints.newest()) == (5, "weights 5", "5")


def test_twins_at_the_same_step_do_not_mix(store: Store, tmp_path: Path) -> None:
    one, other = (StoredCheckpoints(store, KEY, tmp_path / name) for name in ("one", "other"))
    one.save(5, _folder(tmp_path, 5, "of one"))
    other.save(5, _folder(tmp_path, 5, "of the other"))
    assert _content(other.newest()) == (5, "of one", "5")


def test_a_slower_twin_removes_nothing_newer(store: Store, tmp_path: Path) -> None:
    fast, slow = (StoredCheckpoints(store, KEY, tmp_path / name) for name in ("fast", "slow"))
    for step in (10, 20):
        fast.save(step, _folder(tmp_path, step))
    slow.save(5, _folder(tmp_path, 5))
    assert _content(slow.newest())[0] == 20


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["old", "new"]), st.sampled_from(["upload", "complete"])), max_size=24),
    st.integers(0, 8),
)
def test_whatever_an_attempt_that_nobody_could_end_still_writes_the_newest_is_whole(
    acts: list[tuple[str, str]], ahead: int
) -> None:
    """A training over several pods resumes while a pod of its last attempt may still run on a lost node."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        writers = {
            name: StoredCheckpoints(open_store(Storage(uri=(folder / "store").as_uri())), KEY, folder / name)
            for name in ("old", "new")
        }
        steps, uploaded = {"old": ahead, "new": 0}, {}
        completed = 0
        for name, act in acts:
            if act == "upload":
                steps[name] += 1
                made = folder / f"{name}-{steps[name]}"
                made.mkdir()
                for file in ("weights", "optimiser"):
                    (made / file).write_text(f"{file} of {name} at {steps[name]}")
                uploaded[name] = steps[name], writers[name].upload(steps[name], made)
            elif name in uploaded:
                step, files = uploaded.pop(name)
                writers[name].complete(step, files)
                completed = max(completed, step)
            found = writers["new"].newest()
            assert (found[0] if found else 0) == completed
            if found:
                texts = {(found[1] / file).read_text().split(maxsplit=1)[1] for file in ("weights", "optimiser")}
                assert len(texts) == 1, "files of two writers in one checkpoint"


def test_the_source_folder_may_go(checkpoints: StoredCheckpoints, tmp_path: Path) -> None:
    folder = _folder(tmp_path, 5)
    checkpoints.save(5, folder)
    shutil.rmtree(folder)
    assert _content(checkpoints.newest()) == (5, "weights 5", "5")


def test_a_full_scratch_disk_is_not_taken_for_a_damaged_checkpoint(
    store: Store, checkpoints: StoredCheckpoints, tmp_path: Path
) -> None:
    checkpoints.save(5, _folder(tmp_path, 5))
    (tmp_path / "scratch").write_text("a file where the folder should be")
    with pytest.raises(BadInput, match="scratch"):
        checkpoints.newest()


def test_what_other_ranks_have_written_is_passed_over(store: Store, tmp_path: Path) -> None:
    """A changed number of processes starts again, is not hindered by later steps of the old one, and cleans up."""
    old, new = (
        StoredCheckpoints(store, KEY, tmp_path / str(count), Layout(processes=count, zero_stage=2)) for count in (2, 4)
    )
    for step in (90, 100):
        old.save(step, _folder(tmp_path, step))
    assert new.newest() is None
    assert _content(old.newest())[0] == 100
    for step in (5, 6):
        new.save(step, _folder(tmp_path, step))
        assert _content(new.newest()) == (step, f"weights {step}", f"{step}")
    assert old.newest() is None
    new.save(100, _folder(tmp_path, 100, "new"))
    assert _content(new.newest()) == (100, "new", "100")
    steps = {entry.path.split("/")[2] for entry in store.list(f"{KEY}/checkpoints/")}
    assert steps == {"00000006", "00000100"}


def test_a_checkpoint_of_several_nodes_is_invisible_until_all_have_stored_their_part(
    store: Store, tmp_path: Path
) -> None:
    nodes = [StoredCheckpoints(store, KEY, tmp_path / f"node-{n}", Layout(processes=2, zero_stage=3)) for n in (0, 1)]
    parts = []
    for node, checkpoints in enumerate(nodes):
        folder = tmp_path / f"written-{node}"
        folder.mkdir()
        (folder / f"shard-{node}").write_text(str(node))
        (folder / "state.json").write_text(f"node {node}")
        assert checkpoints.newest() is None
        parts += checkpoints.upload(7, folder)
    nodes[0].complete(7, parts)
    for checkpoints in nodes:
        found = checkpoints.newest()
        assert found is not None
        names = {path.name: path.read_text() for path in found[1].iterdir()}
        assert names == {"shard-0": "0", "shard-1": "1", "state.json": "node 0"}


def test_which_micro_batch_ran_out_of_memory_is_remembered(
    store: Store, checkpoints: StoredCheckpoints, tmp_path: Path
) -> None:
    assert checkpoints.out_of_memory() is None
    checkpoints.note_out_of_memory(8)
    checkpoints.note_out_of_memory(4)
    for step in (1, 2, 3):
        checkpoints.save(step, _folder(tmp_path, step))
    assert checkpoints.out_of_memory() == 4
