"""A training over two pods, in containers on a kubelet with hardly any CPU time left, loses one of them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.cluster.faults import ALL
from tests.cluster.losses import EXPORTING, MOMENTS, RESTART_SECONDS, Member, lose_one, next_step
from tests.e2e.installed import Installed

pytestmark = [pytest.mark.cluster, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2400)]
STAGE = "sft-d32-s1"
TIMES = 10
OFTEN = {"sft": {"env": [{"name": "MISSTEP_CHECKPOINT_SECONDS", "value": "0"}]}}


def members(world: Installed, name: str, attempt: int) -> list[Member]:
    """The pods of one attempt at the training whose containers run, by what this machine sees of the node."""
    assert world.cluster.node is not None
    inside = world.cluster.node.process
    marks = f"misstep.dev/experiment={name},misstep.dev/stage={STAGE},misstep.dev/attempt={attempt}"
    listed = json.loads(world.kubectl("get", "pods", "-l", marks, "-ojson"))["items"]
    pods = {pod["metadata"]["uid"]: pod["metadata"]["labels"] for pod in listed}
    found = []
    for process in psutil.Process(inside).children(recursive=True) if pods else ():
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            if "stage" not in process.cmdline()[1:4]:
                continue  # torchrun's agent, or a rank
            group = Path(f"/proc/{process.pid}/cgroup").read_text().replace("_", "-")
            for uid, labels in pods.items():
                if uid in group:
                    index = labels["batch.kubernetes.io/job-completion-index"]
                    volumes = f"/proc/{inside}/root/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir"
                    found.append(Member(int(index), process, Path(volumes) / "scratch"))
    return found


@contextmanager
def load(processes: int = 2) -> Iterator[None]:
    """Have processes take all processor time that they are given."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


@pytest.mark.faults(seconds=120)
def test_a_training_over_two_pods_outlives_the_loss_of_one_under_load(
    world: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    """They meet by their Service. A sample loses one pod once, the whole ten times, at each moment more than once."""
    chance = random.Random(int(os.environ.get("MISSTEP_SAMPLE_SEED", "0")))
    moments = [moment for _ in range(TIMES) for moment in MOMENTS][:TIMES] if ALL else [chance.choice(MOMENTS)]
    restarts = []
    for number, moment in enumerate(moments):
        name = f"pair-{number}"
        world.apply(
            world.short(
                name,
                1,
                storage__uri=f"{world.storage['uri']}/faults/{name}-{time.time_ns()}",
                resources__sft={"nodes": 2, "memory": "2Gi"},
                cluster=OFTEN,
            )
        )
        victim = 0 if moment == EXPORTING else chance.randrange(2)
        with load():
            lost = lose_one(partial(members, world, name, 1), moment, victim)
            restart = next_step(partial(members, world, name, 2), lost)
        with capsys.disabled():
            print(f"\npod {victim} killed while {moment}, under load: {restart}")
        restarts.append(restart)
        status = world.wait_for_state(name, "Succeeded", 500)
        had = {entry["name"]: entry.get("attempt", 1) for entry in status["stages"]}
        assert had == {stage: 2 if stage == STAGE else 1 for stage in had}
        world.kubectl("delete", "experiment", name, "--timeout=60s")
    assert max(restart.stepped for restart in restarts) < RESTART_SECONDS, list(map(str, restarts))
