"""Pods and Jobs: killed, evicted, deleted by hand, and with a clock that is wrong."""

from __future__ import annotations

import json
import shutil
import signal
from functools import partial
from typing import Any

import pytest

from tests.cluster.faults import Undisturbed, assert_nothing_left, assert_same, operator, pods_of, processes_of, small
from tests.cluster.operating import Operating
from tests.cluster.process_node import CLOCK
from tests.cluster.world import jobs_by_stage, stage_of
from tests.eventually import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("s3_credentials")]
TRAINING, SAMPLING = "sft-d32-s0", "test-sft-d32-s0"


def running_pod(world: Operating, name: str, stage: str) -> str:
    """Wait until a pod of a stage runs that nobody ends, and return its name."""
    found: list[str] = []

    def look() -> bool:
        labels = f"misstep.dev/experiment={name},misstep.dev/stage={stage}"
        pods = json.loads(world.kubectl("get", "pods", "-l", labels, "-ojson"))["items"]
        for pod in pods:
            begun = (world.folder / "pods" / pod["metadata"]["uid"] / "pid").exists()  # else none says how it ended
            if begun and pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
                found.append(pod["metadata"]["name"])
        return bool(found)

    eventually(look, 120, lambda: f"no pod of {stage} runs")
    return found[0]


def pods_by_stage(world: Operating, name: str, stage: str) -> int:
    """How many pods a stage has had."""
    return sum(pod["metadata"]["labels"]["misstep.dev/stage"] == stage for pod, _ in pods_of(world, name))


@pytest.mark.faults(seconds=35)
def test_processes_of_stages_are_killed(ground: Operating, undisturbed: Undisturbed) -> None:
    """The Job's own retry does it: a training and one of two shards are killed."""
    document = small(ground, "pod-killed")
    with operator(ground):
        ground.apply(document)
        for stage in TRAINING, SAMPLING:
            eventually(partial(processes_of, ground, "pod-killed", stage), 120)
            processes_of(ground, "pod-killed", stage)[0].send_signal(signal.SIGKILL)
        ground.wait_for_state("pod-killed", "Succeeded")
        assert pods_by_stage(ground, "pod-killed", TRAINING) == 2
        assert pods_by_stage(ground, "pod-killed", SAMPLING) == 3
        assert_same(ground, undisturbed, document, gaps=True)
        assert_nothing_left(ground, "pod-killed")


@pytest.mark.faults(seconds=35)
def test_a_pod_is_evicted_more_often_than_it_may_fail(ground: Operating, undisturbed: Undisturbed) -> None:
    """By the eviction API, which marks the pod with the condition DisruptionTarget: such an end is no failure."""
    document = small(ground, "evicted", cluster__retries=1)
    with operator(ground):
        ground.apply(document)
        for _ in range(3):
            name = running_pod(ground, "evicted", TRAINING)
            eviction = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": name, "namespace": "faults"},
            }
            place = f"/api/v1/namespaces/faults/pods/{name}/eviction"
            ground.kubectl("create", "--raw", place, "-f-", stdin=json.dumps(eviction))
        ground.wait_for_state("evicted", "Succeeded")
        assert pods_by_stage(ground, "evicted", TRAINING) == 4
        assert_same(ground, undisturbed, document, gaps=True)
        assert_nothing_left(ground, "evicted")


@pytest.mark.faults(seconds=35)
def test_jobs_are_deleted_by_hand(ground: Operating, undisturbed: Undisturbed) -> None:
    """One that runs is made again, as the next attempt; one that is complete is not needed any more."""
    document = small(ground, "job-deleted")
    with operator(ground):
        ground.apply(document)
        running_pod(ground, "job-deleted", TRAINING)
        ground.kubectl("delete", "job", job_of(ground, "job-deleted", TRAINING), "--wait=false")
        ground.wait("job-deleted", "sampling", lambda status: SAMPLING in status.get("runningStages", ""), 120)
        ground.kubectl("delete", "job", job_of(ground, "job-deleted", "problems"))
        ground.wait_for_state("job-deleted", "Succeeded")
        assert jobs_by_stage(ground, "job-deleted")[TRAINING] == 1
        assert "problems" not in jobs_by_stage(ground, "job-deleted")
        attempts = {entry["name"]: entry.get("attempt") for entry in ground.status("job-deleted")["stages"]}
        assert [stage for stage, attempt in attempts.items() if attempt != 1] == [TRAINING]
        assert attempts[TRAINING] == 2
        assert_same(ground, undisturbed, document, jobs=None, gaps=True)
        assert_nothing_left(ground, "job-deleted")


def job_of(world: Operating, name: str, stage: str) -> str:
    (found,) = [job for job, body in world.jobs(name).items() if stage_of(body) == stage]
    return found


@pytest.mark.faults(seconds=45)
@pytest.mark.skipif(shutil.which("faketime") is None, reason="no faketime: a Debian package")
def test_clocks_of_pods_are_wrong(ground: Operating, undisturbed: Undisturbed) -> None:
    """By ten minutes, to either side: S3 takes that. By three hours: S3 refuses the pod's signature, so that it fails,
    and the next one, on a node whose clock is right, does its work."""
    clocks = {"problems": "+10m", "sample": "-10m", "verify": "+3h once", "score": "-3h once"}
    document = small(ground, "clocks", cluster={kind: annotated(offset) for kind, offset in clocks.items()})
    rules = [{"namespaces": ["*"], "annotations": [CLOCK]}]
    with operator(ground, MISSTEP_POLICY_RULES=json.dumps(rules)):
        ground.apply(document)
        ground.wait("clocks", "sampling", lambda status: SAMPLING in status.get("runningStages", ""), 120)
        ground.wait_for_state("clocks", "Succeeded")
        refused = {
            pod["metadata"]["labels"]["misstep.dev/stage"] for pod, log in logs(ground) if "clock differs" in log
        }
        assert refused == {"verify-test-sft-d32-s0", "score-sft-d32-s0"}
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, "clocks")


def annotated(offset: str) -> dict[str, Any]:
    return {"annotations": {CLOCK: offset}}


def logs(world: Operating) -> list[tuple[dict[str, Any], str]]:
    return [(pod, (folder / "log").read_text()) for pod, folder in pods_of(world, "clocks")]
