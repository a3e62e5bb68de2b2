"""Blocks are written while the next one is at work."""

from __future__ import annotations

import threading

import pytest

from misstep.artifacts import manifest as m
from misstep.artifacts import writer
from misstep.errors import BadInput
from misstep.plan.frozen import StageKind, Storage
from misstep.stages.context import Output
from misstep.stages.shell import run_stage
from tests.artifacts.making import sample_rows
from tests.stages import making

REGISTRY = {StageKind.SAMPLE: "tests.stages.test_block_writer:Tables"}
ran: dict[int, threading.Event] = {}
expected: list[int] = []


class Tables:
    """Blocks whose tables are in memory, by a work that looks ahead."""

    def __init__(self, ctx):
        self.limit = int(ctx.params.limit)

    def blocks(self):
        return self.limit

    def expect(self, block):
        expected.append(block)

    def run(self, block):
        ran[block].set()
        if block == 3:
            raise ZeroDivisionError("block 3")
        return Output(tables={"samples": sample_rows(1000 * block, 2)}, summary={"samples": 2})

    def close(self):
        assert not [t for t in threading.enumerate() if t.name.startswith("block-writer")], (
            "nothing is written any more"
        )


@pytest.fixture(autouse=True)
def _fresh():
    ran.update({block: threading.Event() for block in range(6)})
    expected.clear()


def test_a_block_is_written_while_the_next_one_runs(storage, store, monkeypatch):
    write = writer.write_block

    def waiting(store, key, kind, block, *rest):
        if block < 2:
            assert ran[block + 1].wait(30), "the next block waits for this one's writing"
        return write(store, key, kind, block, *rest)

    monkeypatch.setattr(writer, "write_block", waiting)
    result = run_stage(making.samples(storage, blocks=3), registry=REGISTRY)
    assert result.blocks_run == 3 and result.manifest.summary == {"samples": 6}
    assert expected == [1, 2]


def test_what_writing_meets_is_the_stages_error(storage, store, monkeypatch):
    write = writer.write_block

    def failing(store, key, kind, block, *rest):
        if block == 1:
            raise OSError(28, "No space left on device", "/scratch/x")
        return write(store, key, kind, block, *rest)

    stage = making.samples(storage, blocks=3)
    with monkeypatch.context() as broken, pytest.raises(BadInput, match="scratch folder"):
        broken.setattr(writer, "write_block", failing)
        run_stage(stage, registry=REGISTRY)
    assert m.finished_blocks(store, stage.key) == {3: {0}}
    assert run_stage(stage, registry=REGISTRY).blocks_run == 2
    assert expected[-1:] == [2]


def test_a_block_that_fails_loses_no_other(storage: Storage, store):
    stage = making.samples(storage, blocks=5)
    with pytest.raises(ZeroDivisionError, match="block 3"):
        run_stage(stage, registry=REGISTRY)
    assert m.finished_blocks(store, stage.key) == {5: {0, 1, 2}}
