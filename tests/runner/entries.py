"""An entry point and stage work for tests of the runner: real stages in a real store, whose work is to behave badly.

A `score` stage's ``pass_at`` says what it does: (behaviour, milliseconds, blocks, shards' number that behaves so).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from misstep.artifacts.output import Output
from misstep.errors import BadInput
from misstep.plan import params as p
from misstep.plan.frozen import FrozenStage, Resources, stage_key
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan
from misstep.stages import main as stages
from misstep.stages.context import StageContext
from misstep.store.description import Storage


class Do(IntEnum):
    WELL = 0
    BAD_INPUT = 1
    CRASH = 2
    CRASH_ONCE = 3
    IGNORE_SIGTERM = 4
    KILL_ITSELF = 5
    LEAVE_A_CHILD = 6


def main(argv: Sequence[str]) -> int:
    return stages.main(argv, registry={StageKind.SCORE: "tests.runner.entries:open_work"})


def noting_imports(argv: Sequence[str]) -> int:
    """Run a real stage, and print what it has imported that was not there when it was forked."""
    before = set(sys.modules)
    code = stages.main(argv)
    print(json.dumps({"imported": sorted(set(sys.modules) - before)}), flush=True)
    return code


def not_an_entry(argv: Sequence[str]) -> int:
    """Dies at once, as the server of a broken installation would."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(10)
    return 0


def open_work(context: StageContext) -> Behaviour:
    return Behaviour(context)


class Behaviour:
    def __init__(self, context: StageContext) -> None:
        params = context.params
        assert isinstance(params, p.ScoreParams)
        do, self._milliseconds, self._blocks, *_ = params.pass_at
        self._do, self._context = Do(do), context

    def blocks(self) -> int:
        return self._blocks

    def run(self, block: int) -> Output:
        mark = self._context.scratch / "crashed"
        print(f"block {block} of {self._context.stage.name}")
        match self._do:
            case Do.BAD_INPUT:
                raise BadInput("column answer", "none", "Name the column that holds the answer.")
            case Do.CRASH:
                raise RuntimeError("the disk is on fire")
            case Do.CRASH_ONCE if not mark.exists():
                mark.touch()
                raise RuntimeError("once is enough")
            case Do.IGNORE_SIGTERM:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            case Do.KILL_ITSELF:
                os.kill(os.getpid(), signal.SIGKILL)
            case Do.LEAVE_A_CHILD:
                subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", "misstep-test-child"])
        end = time.monotonic() + self._milliseconds / 1000
        while time.monotonic() < end:
            self._context.progress.update(1, 2, "moments")
            time.sleep(0.02)
        return Output(summary={"blocks": 1, "pid": {str(os.getpid()): 1}})

    def close(self) -> None:
        """Nothing is open."""


def stage(
    name: str,
    store: Path,
    needs: Sequence[FrozenStage] = (),
    *,
    do: Do = Do.WELL,
    milliseconds: int = 0,
    blocks: int = 1,
    shards: int = 1,
    cpus: int = 1,
    memory_mib: int = 100,
) -> FrozenStage:
    # The name's hash keeps stages apart that behave alike.
    marker = int.from_bytes(name.encode()[:6], "big")
    params = p.ScoreParams(pass_at=(int(do), milliseconds, blocks, marker)).model_dump(mode="json")
    inputs = {f"input_{index}": need.key for index, need in enumerate(needs)}
    return FrozenStage(
        kind=StageKind.SCORE,
        name=name,
        key=stage_key(StageKind.SCORE, params, inputs, {}),
        params=params,
        inputs=inputs,
        storage=Storage(uri=f"file://{store}"),
        shards=shards,
        resources=Resources(cpus=cpus, memory_mib=memory_mib),
    )


def plan_of(*stages: FrozenStage) -> Plan:
    return Plan(experiment="test", stages=stages)
