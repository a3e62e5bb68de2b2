"""Training with several processes compared with one: gloo ranks on this machine, started as on nodes."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from misstep.artifacts.watch import StoreWatch
from misstep.errors import EXIT_BAD_INPUT
from misstep.plan.frozen import FrozenStage, Resources
from misstep.plan.planner import Plan
from misstep.runner.events import Event
from misstep.runner.executor import Executor
from misstep.runner.run import Result, Settings
from misstep.runner.schedule import Capacity, Graph, Node
from misstep.runner.workdir import Workdir
from tests.cluster.losses import EXPORTING, MOMENTS, Member, Restart, lose_one, next_step
from tests.training import small, stages
from tests.training.ranks import World

pytestmark = pytest.mark.slow
ZERO2, ZERO3 = (Resources(cpus=2, processes_per_node=2, zero_stage=stage) for stage in (2, 3))
TOLERANCE = 1e-5
"""Nats. Measured: 5e-7 on losses of 0.7 to 3.6."""


@pytest.fixture(scope="module")
def world(base: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), base)


def ranks_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        below = psutil.Process(process.pid).children(recursive=True)
        return [child for child in below if "misstep.stages.rank" in child.cmdline()]
    except psutil.NoSuchProcess:
        return []


def start_until_checkpoint(world: World, stage: FrozenStage, **environment: Any) -> subprocess.Popen[bytes]:
    """Start a stage that writes checkpoints at every step, and return once there is one more than before."""
    before = set(world.checkpoints(stage))
    process = world.start(stage, MISSTEP_CHECKPOINT_SECONDS=0, **environment)
    while process.poll() is None and set(world.checkpoints(stage)) <= before:
        time.sleep(0.02)
    assert process.poll() is None, world.log(stage)
    return process


def stop_while_training(world: World, stage: FrozenStage, rank: psutil.Process) -> None:
    """Stop a rank between two steps: while it writes a checkpoint it may be silent for much longer."""
    while True:
        rank.send_signal(signal.SIGSTOP)
        (folder,) = (world.folder / "scratch").glob(f"{stage.key}-*/ranks")
        if (folder / f"{rank.environ()['RANK']}.alive").read_text() == "training":
            return
        rank.send_signal(signal.SIGCONT)
        time.sleep(0.05)


def wait(process: subprocess.Popen[bytes], ranks: list[psutil.Process], seconds: float) -> int:
    """Wait for a stage's process; none of its ranks may be left after it."""
    code = process.wait(timeout=seconds)
    _, alive = psutil.wait_procs(ranks, timeout=5)
    assert not alive
    return code


def test_sft_by_two_processes_is_sft_by_one(world: World) -> None:
    """Batches of 6 of 32 rows: the last one has 2, and responses are of uneven lengths. The policy is kept in addition
    to the best checkpoint."""
    params = stages.sft_params(
        optimiser=small.optimiser(epochs=2, batch_size=6, micro_batch_size=6),
        selection=small.selection(epochs=(1,), problems=5),
        policy=small.policy(epoch=2),  # the best of equals is the first
    )
    made = [world.stage(params, resources) for resources in (Resources(), ZERO2, ZERO3)]
    for stage in made:
        assert world.run(stage) == 0, world.log(stage)
    alone, *together = made
    rates = [row["learning_rate"] for row in world.table(alone, "log")]
    peak = params.optimiser.learning_rate
    assert rates == pytest.approx([peak / 3, peak * 2 / 3, *(peak * left / 10 for left in range(10, 0, -1))])
    for stage in together:
        assert world.losses(stage) == pytest.approx(world.losses(alone), abs=TOLERANCE)
        assert [row["learning_rate"] for row in world.table(stage, "log")] == pytest.approx(rates)
        assert world.table(stage, "selection") == world.table(alone, "selection")
        found, expected = world.summary(stage), world.summary(alone)
        assert found.pop("final_loss") == pytest.approx(expected.pop("final_loss"), abs=TOLERANCE)
        assert found == expected
        assert world.checkpoints(stage) == []
        assert (found["best_epoch"], found["policy"]["epoch"]) == (1, 2)
        for role in ("model", "policy"):
            weights = load_file(world.exported(stage, role) / "model.safetensors")
            alone_weights = load_file(world.exported(alone, role) / "model.safetensors")
            assert weights.keys() == alone_weights.keys()
            for name, weight in weights.items():
                torch.testing.assert_close(weight, alone_weights[name], atol=1e-4, rtol=1e-3)
            AutoModelForCausalLM.from_pretrained(world.exported(stage, role))


DPO = stages.dpo_params(optimiser=small.optimiser(epochs=4, batch_size=6, micro_batch_size=6))
PAIRS = 25
"""The last batch has one pair: one of two ranks has none."""


@pytest.fixture(scope="module")
def dpo_alone(world: World) -> list[float]:
    stage = world.stage(DPO, pairs=PAIRS)
    assert world.run(stage) == 0, world.log(stage)
    return world.losses(stage)


def test_dpo_hung_killed_and_resumed_by_two_processes_is_dpo_by_one(world: World, dpo_alone: list[float]) -> None:
    stage = world.stage(DPO, ZERO3, pairs=PAIRS)
    chance = random.Random(time.time_ns())
    process = start_until_checkpoint(world, stage, MISSTEP_STEP_TIMEOUT=12)
    ranks = ranks_of(process)
    stop_while_training(world, stage, chance.choice(ranks))
    began = time.monotonic()
    assert wait(process, ranks, 60) == 1
    assert time.monotonic() - began < 30
    assert "no sign of life" in world.said(stage)
    assert "MISSTEP_STEP_TIMEOUT" in world.said(stage)

    process = start_until_checkpoint(world, stage)
    time.sleep(chance.random() * 0.5)
    ranks = ranks_of(process)
    chance.choice(ranks).kill()
    assert wait(process, ranks, 60) == 1
    assert "was killed by SIGKILL" in world.said(stage)
    saved = world.checkpoints(stage)
    assert saved

    assert world.run(stage) == 0, world.log(stage)
    assert f"resuming at step {saved[-1]} of 20" in world.log(stage)
    assert world.losses(stage) == pytest.approx(dpo_alone, abs=TOLERANCE)


def test_dpo_by_two_nodes_is_dpo_by_one(world: World, dpo_alone: list[float]) -> None:
    """Each node has a scratch folder of its own. One of them falls silent, as a machine does that is gone: the other
    notices, and both start again from what both stored."""
    stage = world.stage(DPO, Resources(nodes=2, zero_stage=2), pairs=PAIRS)

    def start(**environment: Any) -> list[subprocess.Popen[bytes]]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        given = {"MISSTEP_MASTER_ADDR": "127.0.0.1", "MISSTEP_MASTER_PORT": port, **environment}
        return [world.start(stage, node, **given) for node in range(2)]

    assert world.run(stage) == EXIT_BAD_INPUT
    assert "MISSTEP_MASTER_ADDR: not set" in world.said(stage)
    nodes = start(MISSTEP_CHECKPOINT_SECONDS=0, MISSTEP_PEER_TIMEOUT=8)
    while not world.checkpoints(stage):
        assert all(node.poll() is None for node in nodes), world.log(stage)
        time.sleep(0.05)
    silent = psutil.Process(nodes[1].pid)
    for process in (silent, *silent.children(recursive=True)):
        process.suspend()
    assert nodes[0].wait(timeout=60) == 1
    assert "node 1 of 2 has given no sign of life" in world.said(stage)
    nodes[1].kill()
    nodes[1].wait()
    assert [node.wait(timeout=120) for node in start()] == [0, 0], world.log(stage)
    assert "resuming at step" in world.log(stage, 1)
    assert world.losses(stage) == pytest.approx(dpo_alone, abs=TOLERANCE)


def test_ranks_refuse_what_cannot_work_and_say_it_once(world: World) -> None:
    """A port in use, a loss that is not finite, a full disk: exit code and text are those of the rank that found it."""
    diverging = stages.dpo_params(optimiser=small.optimiser(learning_rate=1e30, warmup_percent=0))
    stage = world.stage(diverging, ZERO2, salt=1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert world.run(stage, MISSTEP_MASTER_PORT=taken.getsockname()[1]) == 1
    assert "MISSTEP_MASTER_PORT" in world.said(stage)
    assert world.run(stage, MISSTEP_CHECKPOINT_SECONDS=0) == EXIT_BAD_INPUT, world.log(stage)
    assert "learningRate (spec.training): 1e+30. The" in world.said(stage)
    assert "at step 2 of 15: training diverged" in world.said(stage)
    assert world.checkpoints(stage)  # of the last good step

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    stage = world.stage(DPO, ZERO2, salt=2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        process = world.start(stage, MISSTEP_CHECKPOINT_SECONDS=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert process.wait(timeout=120) == EXIT_BAD_INPUT, world.log(stage)
    assert "The disk is full" in world.said(stage)
    assert world.checkpoints(stage) == []


def test_vllm_loads_what_zero3_writes(tmp_path: Path) -> None:
    """A process of vLLM's own, as in sampling; heads of 64, for its CPU kernels take no smaller ones than 32."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    world = World(tmp_path, small.save_model(tmp_path / "wide", hidden=128))
    stage = world.stage(stages.sft_params(optimiser=small.optimiser(epochs=1)), ZERO3)
    assert world.run(stage) == 0, world.log(stage)
    model = AutoModelForCausalLM.from_pretrained(world.exported(stage))
    ids = torch.tensor([small.ids("1 + 2 =")])
    greedy = model.generate(ids, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :].tolist()
    program = (
        "import sys; from vllm import LLM, SamplingParams; "
        "llm = LLM(sys.argv[1], dtype='float32', enforce_eager=True, max_model_len=64, block_size=32); "
        "greedy = SamplingParams(temperature=0, max_tokens=6); "
        f"out = llm.generate([{{'prompt_token_ids': {ids[0].tolist()}}}], greedy); "
        "print('tokens', list(out[0].outputs[0].token_ids))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(world.exported(stage))],
        capture_output=True,
        text=True,
        env=os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"},
        check=False,
    )
    assert f"tokens {greedy}" in done.stdout, done.stderr[-2000:]


@dataclass
class Run:
    """A runner's run of one stage on a machine with room for one of its nodes: they count as the whole of it."""

    world: World
    stage: FrozenStage
    workdir: Workdir
    scratch: Path
    starts: list[Event] = field(default_factory=list)

    def go(self) -> Result:
        """Run it to its end; in the main thread."""
        self.workdir.create()
        run = Executor(
            Plan(experiment="one", stages=(self.stage,)),
            Graph.of([Node(self.stage.name, shards=self.stage.shards, distributed=True)]),
            StoreWatch(self.world.store),
            self.workdir,
            [self],
            Settings(capacity=Capacity(1, 10_000)),
        )
        return run.run().result

    def on_event(self, event: Event) -> None:
        if event.what == "shard-started":
            self.starts.append(event)

    def on_tick(self, at: float) -> None: ...

    def close(self) -> None: ...

    def members(self, attempt: int) -> list[Member]:
        """The nodes of an attempt that have begun and live."""
        found = []
        for event in [event for event in self.starts if event.detail["attempt"] == attempt]:
            assert event.shard is not None
            with suppress(psutil.NoSuchProcess):
                found.append(Member(event.shard, psutil.Process(event.detail["pid"]), self.scratch))
        return found


def test_the_runner_starts_all_nodes_of_a_stage_at_once(
    world: World, dpo_alone: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "scratch"))
    stage = world.stage(DPO, Resources(nodes=2, zero_stage=2), pairs=PAIRS, salt=3)
    run = Run(world, stage, Workdir(tmp_path / "work"), tmp_path / "scratch")
    assert run.go() is Result.DONE, run.workdir.log(stage.name, 0).read_text()
    assert world.losses(stage) == pytest.approx(dpo_alone, abs=TOLERANCE)
    assert len(run.starts) == 2


@pytest.mark.faults(seconds=35)
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_runner_starts_all_nodes_again_when_one_is_lost(
    moment: str,
    world: World,
    dpo_alone: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At any moment, and from the last complete checkpoint: none waits for one that does not come."""
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("MISSTEP_CHECKPOINT_SECONDS", "0")
    stage = world.stage(DPO, Resources(nodes=2, zero_stage=2), pairs=PAIRS, salt=10 + MOMENTS.index(moment))
    run = Run(world, stage, Workdir(tmp_path / "work"), tmp_path / "scratch")
    victim = 0 if moment == EXPORTING else random.Random(time.time_ns()).randrange(2)
    with ThreadPoolExecutor(1) as threads:
        saved: list[int] = []

        def lose() -> Restart:
            lost = lose_one(lambda: run.members(1), moment, victim)
            saved.extend(world.checkpoints(stage))
            return next_step(lambda: run.members(2), lost)

        losing = threads.submit(lose)
        assert run.go() is Result.DONE, run.workdir.log(stage.name, 0).read_text()
        restart = losing.result()
    with capsys.disabled():
        print(f"\nnode {victim} lost while {moment}: {restart}")
    restart.check()
    assert Counter((event.shard, event.detail["attempt"]) for event in run.starts) == dict.fromkeys(
        [(0, 1), (1, 1), (0, 2), (1, 2)], 1
    )
    resumed = [
        int(step) for step in re.findall(r"resuming at step (\d+) of", run.workdir.log(stage.name, 0).read_text())
    ]
    assert saved or moment != EXPORTING
    assert max(resumed, default=0) >= max(saved, default=0), "not from the last complete checkpoint"
    assert world.losses(stage) == pytest.approx(dpo_alone, abs=TOLERANCE)
