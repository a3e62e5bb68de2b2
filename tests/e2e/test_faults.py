"""Faults that only containers on a kubelet show. Each Experiment ends with the report of an undisturbed one."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from misstep.store.description import Storage
from tests.cluster.manifests import namespace
from tests.cluster.world import NAMESPACE, results, stage_of
from tests.e2e.installed import SYSTEM, Installed, image
from tests.eventually import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2400)]
"""Loading the images takes minutes, which count for the first test."""
TRAINING = "sft-d32-s1"
STAGES = "misstep-stages"
"""Account of stages, as the chart names it."""


@pytest.fixture(scope="module")
def undisturbed(world: Installed) -> dict[str, Any]:
    """Results of the same Experiment on one machine."""
    path, local = world.folder / "undisturbed.yaml", world.folder / "undisturbed"
    path.write_text(json.dumps(world.short("undisturbed", 1)))
    world.misstep("run", str(path), "--storage", local.as_uri(), "--quiet")
    (report,) = [folder.name for folder in local.iterdir() if folder.name.startswith("report-")]
    return results(Storage(uri=local.as_uri()), report, world.folder / "undisturbed-report")


def faulty(world: Installed, name: str, **changes: Any) -> dict[str, Any]:
    """Return an Experiment with a place of its own in the store, so that it finds nothing done."""
    return world.short(name, 1, storage__uri=f"{world.storage['uri']}/faults/{name}", **changes)


def start(world: Installed, name: str, **changes: Any) -> dict[str, Any]:
    """Apply it and return the pod that trains, once it runs."""
    world.apply(faulty(world, name, **changes))
    return pod_of(world, name, TRAINING)


def pod_of(world: Installed, name: str, stage: str) -> dict[str, Any]:
    marks = f"misstep.dev/experiment={name},misstep.dev/stage={stage}"
    found: list[dict[str, Any]] = []

    def runs() -> bool:
        listed = json.loads(world.kubectl("get", "pods", "-l", marks, "-ojson"))["items"]
        found[:] = [pod for pod in listed if pod["status"].get("phase") == "Running"]
        return bool(found)

    eventually(runs, 180, lambda: f"no pod of {stage}")
    return found[0]


def job_of_training(world: Installed, name: str) -> dict[str, Any]:
    """The one Job that the training of an Experiment has had."""
    (job,) = [job for job in world.jobs(name).values() if stage_of(job) == TRAINING]
    return job


def pods_of_job(world: Installed, job: dict[str, Any]) -> list[dict[str, Any]]:
    found = world.kubectl("get", "pods", "-l", f"job-name={job['metadata']['name']}", "-ojson")
    return list(json.loads(found)["items"])


def check_end(
    world: Installed, name: str, undisturbed: dict[str, Any], patch: pytest.MonkeyPatch, jobs: int = 1
) -> None:
    """The report is the undisturbed one, each stage had one Job (training: ``jobs``), and nothing is left over."""
    status = world.wait_for_state(name, "Succeeded", 400)
    attempts = {entry["name"]: entry.get("attempt", 1) for entry in status["stages"]}
    assert attempts == {stage: jobs if stage == TRAINING else 1 for stage in attempts}
    (report,) = [entry["key"] for entry in status["stages"] if entry["kind"] == "report"]
    for variable, value in world.environment.items():
        patch.setenv(variable, value)
    store = Storage(uri=f"{world.storage['uri']}/faults/{name}", path_style=True)
    assert results(store, report, world.folder / name) == undisturbed
    world.kubectl("delete", "experiment", name, "--timeout=60s")
    eventually(lambda: not left_over(world, name), 60, lambda: left_over(world, name))


def left_over(world: Installed, name: str) -> list[str]:
    """Children by their label, and plans by their names too."""
    found = world.kubectl("get", "jobs,pods,configmaps,services", "-l", f"misstep.dev/experiment={name}", "-oname")
    named = world.kubectl("get", "configmaps", "-oname").split()
    return found.split() + [each for each in named if each.startswith(f"configmap/{name}-plan-")]


@pytest.mark.faults(seconds=70)
def test_a_killed_stage_is_tried_again(
    world: Installed, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(world, "killed")
    world.in_node("pkill", "-KILL", "-f", f"misstep stage .*{TRAINING}")
    world.wait_for_state("killed", "Succeeded", 400)
    job = job_of_training(world, "killed")
    assert job["status"].get("failed") == 1
    assert sorted(pod["status"]["phase"] for pod in pods_of_job(world, job)) == ["Failed", "Succeeded"]
    check_end(world, "killed", undisturbed, monkeypatch)


@pytest.mark.faults(seconds=60)
def test_an_evicted_pod_is_replaced_and_not_counted_as_failed(
    world: Installed, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(world, "evicted", cluster={"retries": 0})["metadata"]
    pod = first["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    world.kubectl("create", "--raw", path, "-f-", stdin=json.dumps(eviction))
    world.wait_for_state("evicted", "Succeeded", 400)
    job = job_of_training(world, "evicted")
    assert not job["status"].get("failed")
    (last,) = [pod for pod in pods_of_job(world, job) if pod["status"]["phase"] == "Succeeded"]
    assert last["metadata"]["uid"] != first["uid"], "the pod has ended before it was evicted"
    check_end(world, "evicted", undisturbed, monkeypatch)


@pytest.mark.faults(seconds=80)
def test_a_stage_out_of_memory_says_so_and_resumes_with_more(
    world: Installed, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    once = {"retries": 0, "attempts": 1}
    world.apply(faulty(world, "hungry", resources__sft={"memory": "128Mi"}, cluster=once))
    status = world.wait_for_state("hungry", "Failed", 180)
    assert status["message"].startswith(f"{TRAINING}: OOMKilled, exit code 137"), status["message"]
    world.apply(faulty(world, "hungry", cluster=once))
    world.wait("hungry", "second start", lambda found: found.get("state") in ("Running", "Succeeded"))
    check_end(world, "hungry", undisturbed, monkeypatch, jobs=2)


@pytest.mark.faults(seconds=60)
def test_an_image_that_comes_late_is_waited_for(
    world: Installed, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = {"repository": "misstep-evaluation", "tag": "late"}
    world.upgrade({"images": {**world.values["images"], "evaluation": late}})
    try:
        world.apply(faulty(world, "waiting"))
        status = world.wait("waiting", "complaint", lambda found: "ImagePull" in str(found.get("message")), 240)
        assert "misstep-evaluation:late" in status["message"]
        assert status["state"] == "Waiting"
        names = (image("evaluation"), image("evaluation", "late"))
        world.in_node("ctr", "--namespace", "k8s.io", "images", "tag", *names)
        check_end(world, "waiting", undisturbed, monkeypatch)
    finally:
        world.upgrade({})


@pytest.mark.faults(seconds=110)
def test_a_store_that_is_away_for_a_minute_is_waited_for(
    world: Installed, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(world, "storeless")
    server = (f"--namespace={SYSTEM}", "deployment/misstep-dev-s3")
    world.cluster.kubectl("scale", *server, "--replicas=0")
    time.sleep(60)
    world.cluster.kubectl("scale", *server, "--replicas=1")
    check_end(world, "storeless", undisturbed, monkeypatch)


@pytest.mark.faults(seconds=15)
def test_an_experiment_says_which_account_its_namespace_lacks(world: Installed) -> None:
    """The release has made stages' account and Secret in other namespaces only: there is a Job, and never a pod."""
    world.cluster.kubectl("create", "-f-", stdin=namespace("elsewhere"))
    try:
        document = faulty(world, "stranger")
        world.cluster.kubectl("apply", "--namespace=elsewhere", "-f-", stdin=world.upload(document))

        def why() -> str:
            found = world.cluster.kubectl("get", "experiment", "stranger", "--namespace=elsewhere", "-ojson")
            return str(json.loads(found).get("status", {}).get("message", ""))

        eventually(lambda: f'serviceaccount "{STAGES}" not found' in why(), 60, why)
        (job,) = json.loads(world.cluster.kubectl("get", "jobs", "--namespace=elsewhere", "-ojson"))["items"]
        assert not {"active", "failed", "succeeded"} & {name for name, count in job["status"].items() if count}
        assert not world.cluster.kubectl("get", "pods", "--namespace=elsewhere", "-oname").strip()
    finally:
        world.cluster.kubectl("delete", "namespace", "elsewhere", "--timeout=90s")
