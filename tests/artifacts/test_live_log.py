from __future__ import annotations

from pathlib import Path

from misstep.artifacts import paths
from misstep.artifacts.live_log import LiveLog, read_live_log
from misstep.artifacts.progress import ProgressWriter, read_progress
from misstep.store.base import UnreachableError
from misstep.store.local import LocalStore

KEY = "sft-" + "a" * 20
ROW = {"epoch": 0.5, "loss": 1.0, "learning_rate": 1e-3, "grad_norm": float("inf")}


def test_a_watcher_reads_what_a_training_has_logged_so_far(tmp_path: Path) -> None:
    store, now = LocalStore(tmp_path), [0.0]
    log = LiveLog(lambda: store, KEY, clock=lambda: now[0])
    assert read_live_log(store, KEY) is None
    for step in (1, 2, 3):
        log.publish(
            [{"step": s, **ROW} for s in range(1, step + 1)], [{"epoch": 1, "step": 1, "problems": 4, "correct": 1}]
        )
        now[0] += 1.0
    found = read_live_log(store, KEY)
    assert found is not None
    assert [row.step for row in found.log] == [1, 2, 3], "the second row came too soon, and stands in the third object"
    assert found.log[0].grad_norm is None, "JSON has no infinity"
    assert [row.correct for row in found.selection] == [1]


def test_heartbeats_beside_it_are_read_as_before(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    ProgressWriter(store, KEY, 0).update(1, 2, "steps")
    LiveLog(lambda: store, KEY).publish([{"step": 1, **ROW}], [])
    assert [beat.done for beat in read_progress(store, KEY)] == [1]


def test_what_cannot_be_written_fails_nothing_and_is_not_tried_at_each_row(tmp_path: Path) -> None:
    asked, now = [], [0.0]

    class Away(LocalStore):
        def put(self, path: str, data: bytes, *, if_absent: bool = False) -> bool:
            asked.append(path)
            raise UnreachableError("no answer")

    log = LiveLog(lambda: Away(tmp_path), KEY, clock=lambda: now[0])
    for _ in range(10):
        log.publish([{"step": 1, **ROW}], [])
        now[0] += 1.0
    assert asked == [paths.live_log(KEY)]


def test_what_somebody_else_wrote_there_is_not_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(paths.live_log(KEY), b'{"log": [{"step": -1}]}')
    assert read_live_log(store, KEY) is None
