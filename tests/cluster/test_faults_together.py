"""A training over two pods loses one, by its end, by an eviction, or with its node: both start again, as one."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from misstep.artifacts.reader import Reader
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.cluster.faults import Undisturbed, assert_nothing_left, operator, pods_of, small, store_of
from tests.cluster.losses import EXPORTING, MOMENTS, Member, both, lose_one, next_step
from tests.cluster.operating import Operating
from tests.cluster.process_node import UNREACHABLE
from tests.cluster.world import stage_of
from tests.eventually import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("s3_credentials")]
STAGE = "sft-d32-s0"
TOLERANCE = 1e-5
"""Nats, between losses of two runs whose sums are made in another order."""
OFTEN = {"env": [{"name": "MISSTEP_CHECKPOINT_SECONDS", "value": "0"}]}


def over_two(world: Operating, name: str, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"resources__sft": {"nodes": 2, "cpus": 1, "memory": "1Gi"}, "training__sft__epochs": 16}
    cluster = {"sft": OFTEN, **changes.pop("cluster", {})}
    return small(world, name, **given, cluster=cluster, **changes)


def members(world: Operating, name: str, attempt: int) -> list[Member]:
    """The pods of one attempt at the training that have a process which lives."""
    found = []
    for pod, folder in pods_of(world, name):
        marks = pod["metadata"]["labels"]
        if (marks["misstep.dev/stage"], marks["misstep.dev/attempt"]) == (STAGE, str(attempt)):
            with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
                process = psutil.Process(int((folder / "pid").read_text()))
                index = int(marks["batch.kubernetes.io/job-completion-index"])
                found.append(Member(index, process, folder / "misstep_scratch"))
    return found


def attempt(world: Operating, name: str, number: int) -> Callable[[], list[Member]]:
    return lambda: members(world, name, number)


def log_of(world: Operating, name: str, number: int) -> str:
    """What the pods of one attempt have logged."""
    texts = [
        (folder / "log").read_text(errors="replace")
        for pod, folder in pods_of(world, name)
        if pod["metadata"]["labels"]["misstep.dev/stage"] == STAGE
        and pod["metadata"]["labels"]["misstep.dev/attempt"] == str(number)
    ]
    return "".join(texts)


def losses(storage: Storage, key: str, folder: Path) -> list[float]:
    return [row["loss"] for row in Reader(open_store(storage), folder).table(key, "log").to_pylist()]


def check_end(world: Operating, undisturbed: Undisturbed, document: dict[str, Any], attempts: int) -> None:
    """It ends as an undisturbed run does, its training had so many Jobs, and nothing is left."""
    name = document["metadata"]["name"]
    status = world.wait_for_state(name, "Succeeded")
    had = {entry["name"]: entry["attempt"] for entry in status["stages"]}
    assert had == {stage: attempts if stage == STAGE else 1 for stage in had}
    assert {entry["key"] for entry in status["stages"]} == undisturbed.of(document)[0]
    (key,) = [entry["key"] for entry in status["stages"] if entry["name"] == STAGE]
    _, storage = store_of(world, name)
    alone = Storage(uri=undisturbed.folder(document).as_uri())
    there = losses(storage, key, world.folder / f"losses-{time.time_ns()}")
    assert there == pytest.approx(losses(alone, key, world.folder / f"losses-{time.time_ns()}"), abs=TOLERANCE)
    assert_nothing_left(world, name)


@pytest.mark.faults(seconds=50)
@pytest.mark.parametrize("moment", MOMENTS)
def test_one_of_two_pods_is_killed(
    moment: str, ground: Operating, undisturbed: Undisturbed, capsys: pytest.CaptureFixture[str]
) -> None:
    """At any moment: the others do not wait for one that takes its place, for there is none."""
    name = f"pair-{moment}"
    document = over_two(ground, name)
    victim = 0 if moment == EXPORTING else random.Random(time.time_ns()).randrange(2)
    with operator(ground):
        ground.apply(document)
        lost = lose_one(attempt(ground, name, 1), moment, victim)
        restart = next_step(attempt(ground, name, 2), lost)
        with capsys.disabled():
            print(f"\npod {victim} killed while {moment}: {restart}")
        restart.check()
        check_end(ground, undisturbed, document, 2)
    assert len(pods_of_training(ground, name)) == 4, "no pod was replaced alone"
    if moment == EXPORTING:
        assert "resuming at step" in log_of(ground, name, 2)


def pods_of_training(world: Operating, name: str) -> list[dict[str, Any]]:
    return [pod for pod, _ in pods_of(world, name) if pod["metadata"]["labels"]["misstep.dev/stage"] == STAGE]


@pytest.mark.faults(seconds=60)
def test_one_of_two_pods_is_evicted_more_often_than_jobs_may_fail(ground: Operating, undisturbed: Undisturbed) -> None:
    document = over_two(ground, "pair-evicted", cluster={"retries": 0, "attempts": 1})
    with operator(ground):
        ground.apply(document)
        for number in (1, 2):
            evict(ground, "pair-evicted", number)
            both(attempt(ground, "pair-evicted", number + 1))
        (entry,) = [each for each in ground.status("pair-evicted")["stages"] if each["name"] == STAGE]
        assert (entry["attempt"], entry["ignoredAttempts"], entry["lastDisruptedAttempt"]) == (3, 2, 2)
        check_end(ground, undisturbed, document, 3)


def evict(world: Operating, name: str, number: int) -> None:
    """By the eviction API, as a node that is drained does."""
    both(attempt(world, name, number))
    marks = f"misstep.dev/experiment={name},misstep.dev/stage={STAGE},misstep.dev/attempt={number}"
    pods = json.loads(world.kubectl("get", "pods", "-l", marks, "-ojson"))["items"]
    pod = random.Random(time.time_ns()).choice(pods)["metadata"]["name"]
    evict_pod(world, pod)


def evict_pod(world: Operating, pod: str, grace_seconds: int = 30) -> None:
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": "faults"},
        "deleteOptions": {"gracePeriodSeconds": grace_seconds},
    }
    world.kubectl(
        "create", "--raw", f"/api/v1/namespaces/faults/pods/{pod}/eviction", "-f-", stdin=json.dumps(eviction)
    )


@pytest.mark.faults(seconds=70)
def test_a_pod_on_a_node_that_is_gone_is_not_waited_for(ground: Operating, undisturbed: Undisturbed) -> None:
    """Kubernetes evicts it, and nobody is there to end it: it runs on with its peer, and its Job never says that it has
    failed. The next one starts all the same, and what the old pod still writes does no harm."""
    document = over_two(ground, "pair-lost", cluster={"retries": 0, "attempts": 1})
    with operator(ground):
        ground.apply(document)
        both(attempt(ground, "pair-lost", 1))
        out_of_reach, peer = (member.scratch.parent for member in members(ground, "pair-lost", 1))
        (out_of_reach / UNREACHABLE).touch()
        pod = json.loads((out_of_reach / "pod.json").read_text())["metadata"]["name"]
        evict_pod(ground, pod, grace_seconds=2)
        both(attempt(ground, "pair-lost", 2))
        (first,) = [job for job in ground.jobs("pair-lost").values() if is_attempt(job, 1)]
        conditions = {each["type"] for each in first["status"].get("conditions") or ()}
        assert "Failed" not in conditions, "one of its pods has not ended, for all that is known"
        assert first["metadata"]["deletionTimestamp"]
        eventually(lambda: not alive(peer), 20, lambda: "its peer was not ended")
        (out_of_reach / UNREACHABLE).unlink()
        check_end(ground, undisturbed, document, 2)


def alive(folder: Path) -> bool:
    try:
        return psutil.Process(int((folder / "pid").read_text())).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_attempt(job: dict[str, Any], number: int) -> bool:
    return stage_of(job) == STAGE and job["metadata"]["labels"]["misstep.dev/attempt"] == str(number)
