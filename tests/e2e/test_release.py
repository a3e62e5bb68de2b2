"""The release at work: the same report as on one machine, through an upgrade and without the release for a while."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from cluster import built
from misstep.store.description import Storage
from tests.cluster.scraping import Prometheus, dashboard_queries
from tests.cluster.world import NAMESPACE, STAGES, jobs_by_stage, results
from tests.e2e.installed import AUTHORITY, RELEASE, STORE, Installed, image

pytestmark = [pytest.mark.cluster, pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2400)]
"""Loading the images takes minutes, which count for the first test."""


def keys(status: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["key"] for entry in status["stages"]}


def test_helm_test_passes(world: Installed) -> None:
    world.helm.test(RELEASE, timeout=120)


def test_it_runs_to_the_report_with_the_keys_and_results_of_one_machine(
    world: Installed, monitoring: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, began = world.experiment(), time.time()
    world.apply(document)
    path, local = world.folder / "local.yaml", world.folder / "local"
    path.write_text(json.dumps(document))
    world.misstep("run", str(path), "--storage", local.as_uri(), "--quiet")
    status = world.wait_for_state("small", "Succeeded", 600)
    assert status["progress"] == f"{STAGES}/{STAGES}"
    for job in world.jobs("small").values():
        mounts = job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        assert AUTHORITY in [mount["mountPath"] for mount in mounts], "stages.defaults"
    assert set(keys(status).values()) == {f.name for f in local.iterdir() if (f / "manifest.json").exists()}
    (report,) = [entry["key"] for entry in status["stages"] if entry["kind"] == "report"]
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    there = results(Storage(uri=STORE, path_style=True), report, world.folder / "there")
    assert there == results(Storage(uri=local.as_uri()), report, world.folder / "here")

    time.sleep(3)  # for the last scrape
    # Of failures there are none to show here; tests/cluster/test_metrics.py has one.
    asked = [query for query in dashboard_queries() if "misstep_stage_failures" not in query.expression]
    assert monitoring.without_data(began, time.time(), asked) == [], "queries of the dashboards that show nothing"
    tokens = monitoring.over("misstep_generated_tokens_total", began, time.time())
    assert {labels["stage"] for labels, _ in tokens} & {"sample-d32-s0", "test-sft-d32-s0", "test-dpo-d32-s0"}

    logged = world.misstep("logs", "small", "report", "--namespace", NAMESPACE)
    assert "] committed " in logged  # no name of a pod or stage says that


def test_an_upgrade_leaves_a_running_experiment_its_plan(world: Installed) -> None:
    """Even where the new version would plan it otherwise."""
    tag = later_operator(world)
    world.apply(world.short("upgraded", 1))
    before = world.wait("upgraded", "training", lambda status: "sft" in status.get("runningStages", ""))
    world.upgrade({"images": {**world.values["images"], "operator": {"repository": "misstep-operator", "tag": tag}}})
    assert world.status("upgraded")["state"] != "Succeeded", "it has ended under the old version"
    after = world.wait_for_state("upgraded", "Succeeded", 300)
    assert keys(after) == keys(before)
    assert set(jobs_by_stage(world, "upgraded").values()) == {1}

    world.apply(world.short("planned-later", 1, suspend=True))
    otherwise = world.wait("planned-later", "plan", lambda status: bool(status.get("stages")))
    assert not set(keys(otherwise).values()) & set(keys(after).values()), "the new version was to plan otherwise"
    world.upgrade({})


def test_experiments_outlive_the_release(world: Installed) -> None:
    """Its S3 server goes and comes with it, with the same keys: stages that run meanwhile wait, or are tried again."""
    access, secret = world.environment["AWS_ACCESS_KEY_ID"], world.environment["AWS_SECRET_ACCESS_KEY"]
    world.apply(world.short("orphan", 2))
    before = world.wait("orphan", "training", lambda status: "sft" in status.get("runningStages", ""))
    world.helm.uninstall(RELEASE, wait="watcher", timeout=120)
    assert "orphan" in world.kubectl("get", "experiments", "-oname")
    assert jobs_by_stage(world, "orphan")["sft-d32-s2"] == 1
    world.install()
    assert world.environment["AWS_ACCESS_KEY_ID"] == access
    assert world.environment["AWS_SECRET_ACCESS_KEY"] == secret
    after = world.wait_for_state("orphan", "Succeeded", 300)
    assert keys(after) == keys(before)


def later_operator(world: Installed) -> str:
    """Load an image of an operator that plans otherwise (``later_operator.py``). Return its tag."""
    tag = "later"
    program = "later_operator.py"
    shutil.copy(Path(__file__).with_name(program), world.folder)
    file = world.folder / "Dockerfile"
    file.write_text(f'FROM {image("operator")}\nCOPY {program} /opt/\nENTRYPOINT ["python3", "/opt/{program}"]\n')
    command = ["buildah", "build", "--quiet", "--isolation=chroot", "--network=host", "--tag", image("operator", tag)]
    subprocess.run([*command, "--file", str(file), str(world.folder)], check=True, stdout=subprocess.DEVNULL)
    assert world.cluster.node is not None
    for found in built.export([image("operator", tag)], world.folder):
        world.cluster.node.load(found)
    return tag
