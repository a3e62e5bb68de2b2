"""The operator on a real API server: real scheduler, Job controller and garbage collector, real stages, real S3."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.operating import requests_of_operator

from misstep.store.description import Storage
from misstep_operator.jobs.pod import service_name
from tests.cluster.api import leases
from tests.cluster.operating import LEASE, OPERATOR_ACCOUNT, SYSTEM, Operating, operating, operator_rules
from tests.cluster.world import NAMESPACE, STAGES, results, stage_of
from tests.eventually import eventually
from tests.store import servers

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def world(control_plane: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    folder = tmp_path_factory.mktemp("operator")
    with servers.versitygw(folder / "s3") as endpoint, operating(control_plane, endpoint, folder) as found:
        found.start_operator()
        yield found


@pytest.fixture(scope="module")
def finished(world: Operating) -> dict[str, Any]:
    """The status of an Experiment that ran to its report."""
    world.apply(world.experiment())
    return world.wait_for_state("small", "Succeeded")


def test_it_runs_to_the_report_with_the_keys_and_results_of_one_machine(
    world: Operating, finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finished["progress"] == f"{STAGES}/{STAGES}"
    assert len(world.jobs("small")) == STAGES
    path = world.folder / "local.yaml"
    path.write_text(json.dumps(world.experiment()))
    local = world.folder / "local"
    world.misstep("run", str(path), "--storage", local.as_uri(), "--quiet")
    keys = {entry["key"] for entry in finished["stages"]}
    assert keys == {folder.name for folder in local.iterdir() if (folder / "manifest.json").exists()}
    report = next(entry["key"] for entry in finished["stages"] if entry["kind"] == "report")
    servers.credentials(monkeypatch)
    there = results(servers.s3_storage(world.endpoint, "runs"), report, world.folder / "there")
    here = results(Storage(uri=local.as_uri()), report, world.folder / "here")
    assert there == here


def test_a_finished_experiment_that_is_woken_is_left_alone_after_a_look_at_it(
    world: Operating, finished: dict[str, Any], audit_log: Path
) -> None:
    eventually(lambda: not any(job["status"].get("active") for job in world.jobs("small").values()), 60)
    time.sleep(3)  # the passes that their ends lead to
    _, before = requests_of_operator(audit_log, 0)
    world.kubectl("annotate", "experiment", "small", "example.org/note=read")
    eventually(lambda: "get experiments" in requests_of_operator(audit_log, before)[0], 30)
    time.sleep(1)
    asked, _ = requests_of_operator(audit_log, before)
    assert asked.keys() <= {"get experiments", "list experiments"}, asked
    assert world.status("small") == finished


def test_kubectl_shows_how_it_stands(world: Operating, finished: dict[str, Any]) -> None:
    shown = world.kubectl("get", "exp")
    assert "Succeeded" in shown
    assert f"{STAGES}/{STAGES}" in shown
    story = world.kubectl("describe", "experiment", "small")
    assert "sft-d32-s0: started" in story
    assert "the report is at s3://" in story


def test_the_command_line_looks_into_the_cluster(world: Operating, finished: dict[str, Any]) -> None:
    shown = world.misstep("status", "small", "--namespace", NAMESPACE)
    assert "sft-d32-s0" in shown
    assert f"small: {STAGES} of {STAGES} stages done; Succeeded" in shown
    world.misstep("report", "small", "--namespace", NAMESPACE, "--endpoint", world.storage["endpoint"])
    assert (world.folder / ".misstep/small/report.html").stat().st_size > 10_000


def test_a_tracker_that_is_away_changes_nothing_for_an_experiment(world: Operating, finished: dict[str, Any]) -> None:
    """All its stages are done already, and the pod that logs finds no server."""
    tracking = {"mlflow": {"uri": "http://mlflow.invalid:5000"}, "tensorboard": {}}
    world.apply(world.experiment("tracked", tracking=tracking))
    assert world.wait_for_state("tracked", "Succeeded")["progress"] == finished["progress"]
    chosen = "misstep.dev/experiment=tracked,misstep.dev/tracker=mlflow"

    def jobs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(world.kubectl("get", "jobs", "-ojson", "-l", chosen))["items"]
        return found

    eventually(lambda: [job["status"].get("active") for job in jobs()] == [1], seconds=60)
    (job,) = jobs()
    assert job["metadata"]["ownerReferences"][0]["name"] == "tracked"
    status = world.status("tracked")
    condition = next(one for one in status["conditions"] if one["type"] == "Tracked")
    assert condition["status"] == "False" and "tensorboard" in condition["message"]
    world.kubectl("delete", "experiment", "tracked")
    eventually(lambda: not jobs(), seconds=90)


def test_an_edit_of_beta_runs_dpo_and_what_follows_and_nothing_else(world: Operating, finished: dict[str, Any]) -> None:
    before = set(world.jobs("small"))
    world.apply(world.experiment(training__dpo__beta="0.5"))
    generation = world.get("small")["metadata"]["generation"]
    world.wait(
        "small",
        "second success",
        lambda status: status.get("observedGeneration") == generation and status.get("state") == "Succeeded",
    )
    again = {stage_of(job) for name, job in world.jobs("small").items() if name not in before}
    assert again == {"dpo-d32-s0", "test-dpo-d32-s0", "verify-test-dpo-d32-s0", "score-dpo-d32-s0", "report"}


def test_suspend_ends_pods_and_the_rest_follows_after(world: Operating) -> None:
    document = world.experiment("pausing", seeds=[7])
    world.apply(document)
    world.wait("pausing", "first stage", lambda status: status.get("completed", 0) >= 1)
    world.kubectl("patch", "experiment", "pausing", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    world.wait("pausing", "rest", lambda s: s.get("message") == "spec.suspend is true; set it to false to continue", 60)
    pods = world.kubectl("get", "pods", "-l", "misstep.dev/experiment=pausing", "--field-selector=status.phase=Running")
    assert "pausing" not in pods
    world.kubectl("patch", "experiment", "pausing", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    world.wait_for_state("pausing", "Succeeded")


def test_operators_killed_at_random_moments_compute_nothing_twice(world: Operating) -> None:
    world.apply(world.experiment("killed", seeds=[8]))
    chance = random.Random(time.time_ns())
    end = time.monotonic() + 300
    kills = 0
    while world.status("killed").get("state") != "Succeeded":
        assert time.monotonic() < end, world.log()[-4000:]
        if kills % 2:  # every other one is killed while it starts, which takes long on a busy machine
            (process,) = world.operators
            eventually(lambda pid=process.pid: world.healthy(pid), 60)  # type: ignore[misc]
        time.sleep(chance.uniform(0.5, 6))
        world.stop_operators(signal.SIGKILL)
        kills += 1
        world.start_operator()
    jobs = Counter(map(stage_of, world.jobs("killed").values()))
    assert set(jobs.values()) == {1}, (kills, jobs)
    assert len(jobs) >= STAGES - 2  # the problems and the model are those of every Experiment here


def test_sigterm_ends_an_operator_at_once(world: Operating) -> None:
    (process,) = world.operators
    eventually(lambda: world.healthy(process.pid), 60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    world.operators.clear()
    world.start_operator()


def test_two_operators_at_once_do_not_fight(world: Operating) -> None:
    world.start_operator()
    world.apply(world.experiment("twice", seeds=[9]))
    world.wait_for_state("twice", "Succeeded")
    jobs = Counter(map(stage_of, world.jobs("twice").values()))
    assert set(jobs.values()) == {1}
    assert "works on this Experiment too" in world.kubectl("get", "events", "--field-selector=reason=AnotherOperator")
    world.operators.pop().kill()


def test_a_stage_that_refuses_its_input_says_so_in_the_status(world: Operating) -> None:
    too_long = {"template": "1 " * 200 + "{question}\n"}
    document = world.experiment("refused", seeds=[10], policy__prompt=too_long)
    world.apply(document)
    status = world.wait_for_state("refused", "Failed", 120)
    assert status["message"].startswith("sft-d32-s10: ")
    assert "no training row is left of 32" in status["message"]
    assert [c["reason"] for c in status["conditions"] if c["type"] == "Failed"] == ["BadInput"]


def test_deletion_takes_the_jobs_and_leaves_the_data(world: Operating, finished: dict[str, Any]) -> None:
    world.kubectl("delete", "experiment", "small")
    end = time.monotonic() + 60
    while world.jobs("small"):
        assert time.monotonic() < end
        time.sleep(0.5)
    listed = world.kubectl("get", "configmaps", "-oname")
    assert "small-plan" not in listed


def test_a_quota_is_named_as_what_a_stage_waits_for(world: Operating) -> None:
    world.kubectl("create", "quota", "none", "--hard=pods=0")
    world.apply(world.experiment("quota", seeds=[11]))
    status = world.wait("quota", "complaint", lambda found: "quota" in found.get("message", ""), 60)
    assert status["state"] == "Waiting"
    assert "exceeded quota: none" in status["message"]
    world.kubectl("delete", "quota", "none")
    world.kubectl("delete", "experiment", "quota")


def test_a_training_over_nodes_has_a_service_by_which_they_meet(world: Operating) -> None:
    world.apply(world.experiment("nodes", seeds=[12], resources__sft={"nodes": 2}))
    world.wait("nodes", "training", lambda found: "sft-d32-s12" in found.get("runningStages", ""), 120)
    (job,) = [body for body in world.jobs("nodes").values() if stage_of(body) == "sft-d32-s12"]
    assert job["spec"]["completions"] == 2
    service = json.loads(world.kubectl("get", "service", service_name(job["metadata"]["name"]), "-ojson"))
    assert service["spec"]["clusterIP"] == "None"
    world.kubectl("delete", "experiment", "nodes")


def test_an_operator_with_a_lease_takes_it_keeps_it_and_gives_it_back(world: Operating) -> None:
    world.stop_operators()
    world.start_operator(MISSTEP_LEASE=LEASE)
    eventually(lambda: len(world.leaders()) == 1, 60, world.log)
    held = lease(world)
    eventually(lambda: lease(world)["renewTime"] > held["renewTime"], 20)
    later = lease(world)
    assert later == held | {"renewTime": later["renewTime"]}
    world.stop_operators()
    assert lease(world).get("holderIdentity", "") == ""
    world.start_operator()


def lease(world: Operating) -> dict[str, Any]:
    namespace, _, name = LEASE.partition("/")
    return dict(world.api.call("GET", f"{leases(namespace)}/{name}")["spec"])


def test_the_role_allows_what_the_operator_asked_for_and_no_more(world: Operating, audit_log: Path) -> None:
    """The last test of this file: all that came before is in the API server's audit log."""
    account = f"system:serviceaccount:{SYSTEM}:{OPERATOR_ACCOUNT}"
    asked = set()
    for line in audit_log.read_text().splitlines():
        entry = json.loads(line)
        reference = entry.get("objectRef") or {}
        if entry["user"]["username"] == account and reference.get("resource"):
            assert (entry.get("responseStatus") or {}).get("code") != 403, entry
            resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            asked.add((entry["verb"], reference.get("apiGroup", ""), resource))
    assert asked == operator_rules()
