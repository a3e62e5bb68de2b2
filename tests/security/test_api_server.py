"""Attacks on a real API server, met by the operator's own process: a planted plan, and a squatter on others' stages."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.life import kubectl
from misstep.plan import configmap
from misstep.store.description import Storage
from misstep_operator.planning import planning
from tests.cluster.operating import Operating, operating
from tests.eventually import eventually
from tests.operator.test_planning import body
from tests.store import servers

pytestmark = pytest.mark.cluster
THERE = "team-a"


@pytest.fixture(scope="module")
def world(control_plane: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    folder = tmp_path_factory.mktemp("attacks")
    with servers.versitygw(folder / "s3") as endpoint, operating(control_plane, endpoint, folder, "team-b") as found:
        kubectl(control_plane, "create", "namespace", THERE)
        yield found
        kubectl(control_plane, "delete", "namespace", THERE, "--wait=false")


def document(world: Operating, name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """An Experiment that needs no model in the store, for its first stage at least."""
    found = body(storage={**world.storage, "uri": f"s3://{servers.BUCKET}/attacked-{spec.pop('prefix', name)}"}, **spec)
    return {name: found[name] for name in ("apiVersion", "kind", "spec")} | {
        "metadata": {"name": name, "namespace": namespace}
    }


def test_a_planted_plan_starts_nothing_and_is_said(world: Operating) -> None:
    """Who may write ConfigMaps, and not Jobs, would run thousands of pods with arguments of their own."""
    world.kubectl("create", "-f-", stdin=json.dumps(document(world, "planted", "team-b")))
    found = world.get("planted")
    made = planning.parse(found)
    plan = planning.make_plan(made, planning.find_externals(made), {"model": None})
    evil = plan.model_copy(
        update={
            "stages": tuple(
                stage.model_copy(update={"shards": 5000, "storage": Storage(uri="s3://evil")}) for stage in plan.stages
            )
        }
    )
    name = configmap.plan_name("planted", found["metadata"]["uid"], 1)
    there = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "binaryData": configmap.pack(evil),
    }
    world.kubectl("create", "-f-", stdin=json.dumps(there))
    world.start_operator()
    try:
        status = world.wait("planted", "refusal", lambda status: name in status.get("message", ""), 60)
        assert status["state"] == "Waiting"
        assert status["planDigest"] == ""
        assert world.jobs("planted") == {}
        world.kubectl("delete", "configmap", name)
        status = world.wait("planted", "plan", lambda status: bool(status.get("planDigest")), 60)
        eventually(lambda: bool(world.jobs("planted")), 30)
        assert {job["spec"]["completions"] for job in world.jobs("planted").values()} == {1}
        (data,) = json.loads(world.kubectl("get", "configmap", name, "-o", "json"))["binaryData"].values()
        assert configmap.digest({configmap.PLAN_FILE: data}) == status["planDigest"]
        # And in its place while it is in use: a new operator takes it no more than the old one.
        world.stop_operators(signal.SIGKILL)
        world.kubectl("delete", "configmap", name)
        world.kubectl("create", "-f-", stdin=json.dumps(there))
        world.start_operator()
        world.wait("planted", "refusal", lambda status: name in status.get("message", ""), 60)
        assert {job["spec"]["completions"] for job in world.jobs("planted").values()} == {1}
    finally:
        world.stop_operators()
        world.kubectl("delete", "experiment", "planted", "--wait=false")


def test_a_copy_of_a_spec_that_no_node_takes_holds_nobody_up(world: Operating) -> None:
    """Team A knows team B's spec: with the same keys and a node selector that nothing has, B waited for ever."""
    nowhere = {"defaults": {"nodeSelector": {"no": "such-node"}}}
    copies = [
        document(world, "squat", THERE, prefix="shared", cluster=nowhere),
        document(world, "victim", "team-b", prefix="shared"),
    ]
    world.start_operator()
    try:
        kubectl(world.kubeconfig, "create", "-f-", stdin=yaml.safe_dump(copies[0]))
        eventually(lambda: "squat" in kubectl(world.kubeconfig, "get", "jobs", "-n", THERE, "-o", "yaml"), 60)
        world.kubectl("create", "-f-", stdin=json.dumps(copies[1]))
        eventually(lambda: bool(world.jobs("victim")), 60, lambda: json.dumps(world.status("victim")))
        (theirs,) = yaml.safe_load(kubectl(world.kubeconfig, "get", "jobs", "-n", THERE, "-o", "yaml"))["items"]
        ours = world.jobs("victim").values()
        keys = {job["metadata"]["labels"]["misstep.dev/key"] for job in ours}
        assert theirs["metadata"]["labels"]["misstep.dev/key"] in keys, "the same stage"
    finally:
        world.stop_operators()
        world.kubectl("delete", "experiment", "victim", "--wait=false")
