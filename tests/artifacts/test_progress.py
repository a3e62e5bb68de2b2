from __future__ import annotations

import time
from pathlib import Path

import pytest

from misstep.artifacts.progress import Heartbeat, ProgressWriter, read_progress
from misstep.store.base import Store
from misstep.store.description import Storage
from misstep.store.open import open_store

KEY = "sample-" + "d" * 20


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[int, int, str, dict[str, float | str]]] = []

    def update(self, done: int, total: int, unit: str, **detail: float | str) -> None:
        self.heard.append((done, total, unit, detail))


def _written(store: Store) -> Heartbeat | None:
    found = read_progress(store, KEY)
    return found[0] if found else None


def test_a_heartbeat_every_two_seconds(store: Store) -> None:
    clock, listener = Clock(), Listener()
    progress = ProgressWriter(store, KEY, 3, listener, clock, now=lambda: 3e9)
    assert _written(store) is None
    for done in range(51):
        progress.update(done, 100, "samples", loss=0.5, note="x")
        clock.now += 0.125
    written = _written(store)
    assert written is not None
    assert written == Heartbeat(
        shard=3,
        done=48,
        total=100,
        unit="samples",
        rate=8.0,
        detail={"loss": 0.5, "note": "x"},
        updated=written.updated,
    )
    assert abs(written.updated - time.time()) < 60  # the store's clock, not that of the writer, which is years ahead
    assert len(listener.heard) == 51
    progress.flush()
    assert _written(store).done == 50  # type: ignore[union-attr]


def test_rate_begins_again_with_each_count(local: Store) -> None:
    clock = Clock()
    progress = ProgressWriter(local, KEY, 0, None, clock)
    for block in range(2):
        for done in (0, 10, 20):
            clock.now += 3
            progress.update(done, 20, "samples")
        progress.blocks(block + 1, 2)
    progress.flush()
    heartbeat = _written(local)
    assert heartbeat is not None
    assert heartbeat.rate == pytest.approx(20 / 6)
    assert (heartbeat.blocks_done, heartbeat.blocks, heartbeat.fraction) == (2, 2, 1.0)


def test_fraction_counts_blocks_and_what_is_done_of_the_next() -> None:
    def fraction(done: int, total: int, blocks_done: int, blocks: int) -> float:
        return Heartbeat(
            shard=0, done=done, total=total, unit="x", blocks_done=blocks_done, blocks=blocks, updated=0
        ).fraction

    assert fraction(0, 0, 0, 1) == 0.0
    assert fraction(5, 10, 0, 1) == 0.5
    assert fraction(5, 10, 1, 4) == 0.375
    assert fraction(20, 10, 0, 2) == 0.5
    assert fraction(3, 10, 0, 0) == 1.0


def test_a_store_that_refuses_does_not_stop_the_stage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    clock = Clock()
    progress = ProgressWriter(open_store(Storage(uri=f"file://{tmp_path}/file")), KEY, 0, None, clock)
    for done in range(100):
        progress.update(done, 100, "samples")
        clock.now += 1
    progress.flush()


def test_damaged_heartbeats_are_left_out(local: Store) -> None:
    ProgressWriter(local, KEY, 1, None).update(1, 2, "x")
    for name, content in (("0", b"{"), ("2", b'{"shard": 2}'), ("3", b"\xff")):
        local.put(f"{KEY}/progress/{name}.json", content)
    assert [heartbeat.shard for heartbeat in read_progress(local, KEY)] == [1]
