from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from misstep.artifacts import manifest as m
from misstep.artifacts import paths
from misstep.artifacts.output import Output
from misstep.artifacts.progress import ProgressWriter
from misstep.errors import MisstepError
from misstep.plan.kinds import StageKind
from misstep.stages.block_writer import BlockWriter
from misstep.stages.context import OneBlock
from misstep.stages.shell import run_missing
from misstep.store.base import Store
from misstep.store.local import LocalStore
from tests.artifacts.making import frozen, sample_rows

STAGE = frozen(StageKind.SAMPLE)
PATIENCE = 30.0
"""Seconds until a test gives up on something that should happen at once."""


class Gated(LocalStore):
    """A folder whose files are written only once the gate is open."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate = threading.Event()

    def put_file(self, path: str, local: Path, *, if_absent: bool = False) -> bool:
        assert self.gate.wait(PATIENCE), "nothing opened the gate"
        return super().put_file(path, local, if_absent=if_absent)


class Silent(ProgressWriter):
    """Progress that nobody looks at."""

    def __init__(self) -> None: ...
    def blocks(self, done: int, total: int) -> None: ...


class Works(OneBlock):
    """Blocks of three samples; records its calls, and the contents of the store at each start."""

    def __init__(self, store: Store, before: Callable[[int], None] | None = None) -> None:
        self.store, self.before = store, before
        self.seen: list[str] = []

    def expect(self, block: int | None) -> None:
        self.seen.append(f"expect {block}")

    def run(self, block: int) -> Output:
        self.seen.append(f"run {block}")
        if self.before:
            self.before(block)
        return Output(tables={"samples": sample_rows(100 * block, 3)}, summary={"samples": 3})


def written(store: Store, blocks: int) -> list[int]:
    return [block for block in range(blocks) if m.read_receipt(store, STAGE.key, block, blocks) is not None]


def run(store: Store, scratch: Path, work: Works, blocks: int) -> int:
    with BlockWriter(STAGE, blocks, store, scratch) as writer:
        return run_missing(work, range(blocks), writer, Silent())


def test_the_next_block_runs_while_one_is_written(tmp_path: Path) -> None:
    store = Gated(tmp_path / "store")

    def before(block: int) -> None:
        if block == 1:  # were writing waited for, this would never be reached
            assert written(store, 3) == []
            store.gate.set()

    assert run(store, tmp_path, Works(store, before), 3) == 3
    assert written(store, 3) == [0, 1, 2]


def test_at_most_one_block_waits_to_be_written(tmp_path: Path) -> None:
    store = Gated(tmp_path / "store")
    work = Works(store)
    opener = threading.Timer(0.5, store.gate.set)
    opener.start()
    run(store, tmp_path, work, 4)
    opener.join()
    assert work.seen[:4] == ["expect 1", "run 0", "expect 2", "run 1"]
    assert written(store, 4) == [0, 1, 2, 3]


def test_blocks_that_are_there_are_neither_run_nor_expected(local: Store, tmp_path: Path) -> None:
    run(local, tmp_path, Works(local), 5)
    for block in (0, 2, 3):
        local.delete(paths.receipt(STAGE.key, block, 5))
    work = Works(local)
    assert run(local, tmp_path, work, 5) == 3
    assert work.seen == ["expect 2", "run 0", "expect 3", "run 2", "expect None", "run 3"]


def test_a_block_that_a_twin_finishes_meanwhile_is_expected_no_longer(local: Store, tmp_path: Path) -> None:
    run(local, tmp_path, Works(local), 3)
    for block in (0, 1, 2):
        local.delete(paths.receipt(STAGE.key, block, 3))

    def before(block: int) -> None:
        if block == 0:  # the twin is at block 1, and done before ours is
            with BlockWriter(STAGE, 3, local, tmp_path) as twin:
                twin.write(1, Works(local).run(1), time.monotonic())

    work = Works(local, before)
    assert run(local, tmp_path, work, 3) == 2
    assert work.seen == ["expect 1", "run 0", "expect None", "run 2"]


def test_what_writing_meets_ends_the_stage(local: Store, tmp_path: Path) -> None:
    class WrongTable(Works):
        def run(self, block: int) -> Output:
            super().run(block)
            return Output(tables={"nonsense": sample_rows(0, 1)})

    work = WrongTable(local)
    with pytest.raises(MisstepError, match="a sample stage has no table 'nonsense'"):
        run(local, tmp_path, work, 5)
    assert [event for event in work.seen if "run" in event] == ["run 0", "run 1"]


def test_the_block_being_written_is_finished_where_the_next_one_fails(tmp_path: Path) -> None:
    store = Gated(tmp_path / "store")

    def before(block: int) -> None:
        if block == 1:
            threading.Timer(0.2, store.gate.set).start()
            raise ZeroDivisionError("block 1")

    with pytest.raises(ZeroDivisionError):
        run(store, tmp_path, Works(store, before), 3)
    assert written(store, 3) == [0]


def test_tables_still_to_be_computed_are_written_by_the_stage_itself(local: Store, tmp_path: Path) -> None:
    threads = []

    def batches():
        threads.append(threading.current_thread())
        yield from sample_rows(0, 3).to_batches()

    with BlockWriter(STAGE, 1, local, tmp_path) as writer:
        writer.write(0, Output(tables={"samples": batches()}), time.monotonic())
    assert threads == [threading.main_thread()]
    assert written(local, 1) == [0]
