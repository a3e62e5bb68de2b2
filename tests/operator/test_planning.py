"""From an object of the API server to a plan, and to the ConfigMap that keeps it."""

from __future__ import annotations

import base64
import socketserver
import threading
from functools import partial
from typing import Any

import pytest

from misstep.errors import BadInput
from misstep.plan.configmap import PLAN_FILE, PlanUnreadable, pack, plan_name, unpack
from misstep.plan.planner import Plan
from misstep_operator.planning.planning import find_externals, make_plan, parse, read_shapes
from misstep_operator.stores.reader import StoreReader
from misstep_operator.stores.trust import ListedStore, Trust
from tests.operator.world import PLAN
from tests.store.servers import credentials


def body(**spec: Any) -> dict[str, Any]:
    given = {
        "storage": {"uri": "s3://bucket/prefix"},
        "problems": {
            "train": {"format": "strides", "limit": 300},
            "validation": {"format": "strides", "limit": 50},
            "test": {"format": "strides", "limit": 50},
            "sizes": [100],
        },
        "policy": {"model": {"hub": "org/model", "revision": "0" * 40}},
    }
    return {
        "apiVersion": "misstep.dev/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": "e", "namespace": "n", "uid": "u", "resourceVersion": "7", "managedFields": [{}]},
        "spec": {**given, **spec},
        "status": {"state": "Running"},
    }


def planned(document: dict[str, Any]) -> Plan:
    experiment = parse(document)
    externals = find_externals(experiment)
    return make_plan(experiment, externals, read_shapes(experiment, externals))


def test_a_plan_of_an_object_and_back_from_its_configmap() -> None:
    made = planned(body())
    assert made.experiment == "e"
    assert unpack(pack(made)) == made
    assert unpack(pack(PLAN)) == PLAN
    assert pack(made) == pack(made)


def test_a_stage_that_no_pod_could_start_is_refused_before_anything_is_paid() -> None:
    """Linux takes no argument of 128 KiB: the report has an input for each point."""
    problems = {**body()["spec"]["problems"], "sizes": list(range(20, 84, 8))}
    arms = [
        {"name": "sft", "method": "sft"},
        *({"name": f"d{n}", "method": "dpo", "pairs": "shared-prefix", "dpo": {"beta": f"0.{n}"}} for n in range(1, 8)),
    ]
    assert len(planned(body(problems=problems, arms=arms, seeds=[0, 1])).stages) > 100
    with pytest.raises(BadInput, match=r"^spec: .* stages.*report.*split it"):
        planned(body(problems=problems, arms=arms, seeds=list(range(6))))


def test_numbers_that_are_text_stay_text() -> None:
    made = parse(body(training={"sft": {"learningRate": 5e-7}}))
    assert made.spec.training.sft.learning_rate == 5e-7


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"storage": {"uri": "file:///data"}}, "spec.storage.uri"),
        ({"policy": {"model": {"path": "base"}}}, "misstep upload"),
        ({"credit": {"rollouts": 1}}, "bestOf"),
        ({"polcy": {}}, "polcy"),
    ],
)
def test_what_a_cluster_cannot_run_is_refused_with_its_field(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        planned(body(**spec))


@pytest.mark.parametrize("data", [None, {}, {PLAN_FILE: "!"}, {PLAN_FILE: base64.b64encode(b"x").decode()}])
def test_a_damaged_configmap_says_what_to_do(data: dict[str, str] | None) -> None:
    with pytest.raises(PlanUnreadable, match="delete its ConfigMap"):
        unpack(data)


def test_the_plan_of_another_one_of_the_same_name_is_not_taken() -> None:
    assert plan_name("e", "uid-1", 1) == plan_name("e", "uid-1", 1)
    assert len({plan_name("e", "uid-1", 1), plan_name("e", "uid-2", 1), plan_name("e", "uid-1", 2)}) == 3


def test_a_models_store_that_does_not_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    class Closes(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            tries.append(self.client_address)

    credentials(monkeypatch)
    with socketserver.TCPServer(("127.0.0.1", 0), Closes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        storage = {"uri": "s3://bucket/prefix", "endpoint": endpoint, "pathStyle": True}
        model = {"name": "base", "uri": "s3://bucket/model", "digest": "sha256:" + "a" * 64}
        experiment = parse(body(storage=storage, policy={"model": model}))
        externals = find_externals(experiment)
        trusted = StoreReader(Trust((ListedStore(uri="s3://bucket", endpoint=endpoint, namespaces=("n",)),)))
        shapes = read_shapes(experiment, externals, partial(trusted.read_model_config, namespace="n"))
        assert shapes == {"model": None}
        assert make_plan(experiment, externals, shapes).stages
        server.shutdown()
    assert len(tries) == 3, "a stage would try six times, with longer timeouts"
