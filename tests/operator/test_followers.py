"""Pods that log into trackers: which there are and when, and that the Experiment never notices them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from misstep.errors import BadInput, MisstepError
from misstep.plan.configmap import PLAN_FILE, plan_name
from misstep.plan.kinds import IMAGES
from misstep.spec import parse_experiment
from misstep.spec.experiment import Experiment
from misstep_operator.api import parse
from misstep_operator.decision.decision import Decision, decide
from misstep_operator.jobs import follower
from misstep_operator.jobs.follower import follower_name, make_follower, why_not_tracked
from misstep_operator.observed import ExperimentView, FollowerView
from misstep_operator.policy.rules import Rule
from misstep_operator.settings import Settings
from tests.operator.world import PLAN, World

VIEW = ExperimentView("research", "e", "0b5c7d2e-uid", 3, False, {})
SETTINGS = Settings(
    images={service: f"registry.example/misstep-{service}:1" for service in (*IMAGES, "tracking")},
    service_account="misstep-stages",
    env_secret="misstep-s3",
    stage_metrics_port=9090,
)


def experiment(tracking: str) -> Experiment:
    return parse_experiment(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: e}}
spec:
  storage: {{uri: "s3://bucket/prefix"}}
  problems: {{train: {{format: gsm8k, path: data}}, sizes: [100]}}
  policy: {{model: {{path: base}}}}
  tracking: {tracking}
  secrets: [{{env: WANDB_API_KEY, secret: wandb, key: key}}]
  cluster:
    retries: 5
    defaults:
      nodeSelector: {{pool: cpu}}
      modelCacheClaim: models
      deadlineSeconds: 7200
      env: [{{name: HTTPS_PROXY, value: "http://proxy:3128"}}]
      volumes: [{{mountPath: /etc/misstep/ca, configMap: store-ca}}]
""")


MLFLOW = "{mlflow: {uri: 'http://mlflow.tools:5000'}}"


def test_rendered(snapshot: SnapshotAssertion) -> None:
    made = experiment(MLFLOW)
    job = make_follower(VIEW, "mlflow", made, SETTINGS)
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert parse_experiment(args.pop()) == made
    assert yaml.safe_dump(job, sort_keys=False) == snapshot


def test_one_pod_at_a_time_that_no_queue_and_no_deadline_ends() -> None:
    job = make_follower(VIEW, "mlflow", experiment(MLFLOW), SETTINGS)
    spec = job["spec"]
    assert (spec["parallelism"], spec["completions"], spec["podReplacementPolicy"]) == (1, 1, "Failed")
    assert "activeDeadlineSeconds" not in spec
    assert not [name for name in job["metadata"]["labels"] if "kueue" in name]
    assert len(job["metadata"]["name"]) <= 57
    assert spec["template"]["spec"]["volumes"][1] == {
        "name": "plan",
        "configMap": {"name": plan_name("e", VIEW.uid, 3)},
    }
    assert spec["template"]["spec"]["containers"][0]["args"][2] == f"/scratch/{PLAN_FILE}"
    assert not parse.job_views([job], ()), "it is no stage's"
    assert [view.tracker for view in parse.follower_views([job], ())] == ["mlflow"]


def test_dollars_reach_the_pod_as_they_are() -> None:
    """A kubelet puts variables in for ``$(NAME)``, among them the store's keys."""
    made = experiment("{mlflow: {uri: 'http://a:1', experiment: '$(AWS_SECRET_ACCESS_KEY)'}}")
    argument = make_follower(VIEW, "mlflow", made, SETTINGS)["spec"]["template"]["spec"]["containers"][0]["args"][3]
    assert "$$(AWS_SECRET_ACCESS_KEY)" in argument


RULE = Rule(namespaces=("*",))


@pytest.mark.parametrize(
    ("tracking", "rule", "said"),
    [
        (MLFLOW, RULE, None),
        ("{wandb: {}}", RULE, None),
        ("{wandb: {mode: offline}}", RULE, "in a pod"),
        ("{tensorboard: {}}", RULE, "in a pod"),
        ("{trackio: {}}", RULE, "in a pod"),
        ("{mlflow: {uri: 'http://localhost:5000'}}", RULE, "localhost is the pod itself"),
        ("{mlflow: {uri: 'http://[::1]:5000'}}", RULE, "localhost is the pod itself"),
        (MLFLOW, Rule(namespaces=("*",), trackers=("http://mlflow.tools:5000",)), None),
        (MLFLOW, Rule(namespaces=("*",), trackers=("http://mlflow.tools:5000/*",)), None),
        (MLFLOW, Rule(namespaces=("*",), trackers=("wandb",)), "policy does not list it"),
        ("{wandb: {}}", Rule(namespaces=("*",), trackers=()), "it lists none"),
        ("{mlflow: {uri: 'http://a/b/../c'}}", Rule(namespaces=("*",), trackers=("http://a/b/*",)), "does not list"),
    ],
)
def test_what_a_pod_cannot_log_into_has_a_reason(tracking: str, rule: Rule, said: str | None) -> None:
    found = why_not_tracked(experiment(tracking), rule, SETTINGS)
    assert (said is None) == (found == {})
    assert said is None or said in next(iter(found.values()))


def test_an_operator_without_the_image_says_so() -> None:
    found = why_not_tracked(experiment(MLFLOW), RULE, replace(SETTINGS, images={}))
    assert "images.tracking" in found["mlflow"]


def test_an_experiment_too_long_for_an_argument_has_no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "MAX_ARGUMENT_BYTES", 1000)
    assert "too long" in why_not_tracked(experiment(MLFLOW), RULE, SETTINGS)["mlflow"]


def tracked(world: World) -> dict[str, Any]:
    return dict(world.condition("Tracked"))


def test_it_starts_with_the_first_stage_and_once() -> None:
    world = World(trackers=("mlflow", "wandb"))
    first, second = world.make_pass(), world.make_pass()
    assert first.followers_to_create == ()
    assert second.followers_to_create == ("mlflow", "wandb")
    assert [start.stage.name for start in second.jobs_to_create] == ["problems"]
    assert tracked(world)["status"] == "True"
    assert world.step() == Decision()
    assert world.run_to_the_end() == "Succeeded"
    assert len(world.followers) == 2
    assert not any(event.warning for event in second.events)


def test_it_follows_an_experiment_whose_stages_are_all_done_already() -> None:
    world = World(trackers=("mlflow",), committed={stage.key for stage in PLAN.stages})
    assert world.make_pass().followers_to_create == ("mlflow",)
    assert world.status["state"] == "Succeeded"
    assert world.make_pass() == Decision()
    (job,) = world.followers.values()
    assert job.alive, "it ends by itself"


def test_what_is_not_tracked_is_said_once_with_the_reason_and_the_command() -> None:
    world = World(not_tracked={"tensorboard": "its files"})
    said = [event for event in world.step().events if event.reason.value == "NotTracked"]
    assert [event.warning for event in said] == [True]
    assert "tensorboard: its files" in said[0].message
    assert "misstep track e --namespace ns --to tensorboard" in said[0].message
    world.finish(world.active()[0])
    assert all(event.reason.value != "NotTracked" for event in world.step().events)
    assert (tracked(world)["status"], tracked(world)["message"]) == ("False", said[0].message)


def test_a_follower_that_fails_is_said_and_the_experiment_goes_on() -> None:
    world = World(trackers=("mlflow",))
    world.step()
    (name,) = world.followers
    world.followers[name] = replace(world.followers[name], alive=False, trouble="no such host")
    events = world.make_pass().events
    assert [(event.reason.value, event.warning) for event in events] == [("NotTracked", True)]
    assert "no such host" in events[0].message
    assert world.status["state"] == "Running"
    assert world.make_pass() == Decision(), "nothing takes its place while its Job is there"
    del world.followers[name]
    assert world.make_pass().followers_to_create == ("mlflow",)
    assert world.run_to_the_end() == "Succeeded"


def test_a_follower_that_the_api_server_refuses_is_said_and_stages_start() -> None:
    world = World(trackers=("mlflow",))
    world.make_pass()
    decision = decide(replace(world.observe(), refused={"mlflow": "exceeded quota"}))
    assert [start.stage.name for start in decision.jobs_to_create] == ["problems"]
    assert decision.status is not None and decision.status["state"] == "Running"
    assert "exceeded quota" in decision.events[0].message


def test_the_end_of_an_experiment_that_fails_or_is_suspended_ends_it() -> None:
    failing = World(trackers=("mlflow",), attempts=1)
    failing.step()
    failing.fail(failing.active()[0])
    (name,) = failing.followers
    assert failing.make_pass().jobs_to_delete == (name,)
    assert failing.status["state"] == "Failed"
    failing.retry = "again"
    failing.settle()
    assert len(failing.followers) == 1, "two could log a point twice: the last one is still there"
    del failing.followers[name]
    assert failing.make_pass().followers_to_create == ("mlflow",)

    suspended = World(trackers=("mlflow",))
    suspended.step()
    suspended.suspend, suspended.generation = True, 2
    assert next(iter(suspended.followers)) in suspended.make_pass().jobs_to_delete


def test_an_edit_replaces_it_when_its_pod_is_gone() -> None:
    world = World(trackers=("mlflow",))
    world.step()
    (name,) = world.followers
    world.generation = 2
    assert world.make_pass().jobs_to_delete == (name,)
    assert world.make_pass().followers_to_create == ()
    del world.followers[name]
    assert world.make_pass().followers_to_create == ("mlflow",)
    world.generation, world.trackers = 3, ()
    world.make_pass()
    assert all(job.terminating for job in world.followers.values()), "nothing is tracked any more"


def test_an_edit_that_cannot_be_planned_ends_it() -> None:
    world = World(trackers=("mlflow",))
    world.step()
    (name,) = world.followers
    for_now = decide(replace(world.observe(), plan=MisstepError("the store does not answer")))
    assert name not in for_now.jobs_to_delete
    for_good = decide(replace(world.observe(), plan=BadInput("spec.arms", "x", "Correct it.")))
    assert name in for_good.jobs_to_delete


@given(st.lists(st.sampled_from(["finish", "fail", "edit", "retry", "suspend", "gone", "follower fails"]), max_size=25))
def test_one_tracker_never_has_two_that_are_alive_and_states_are_those_without_trackers(steps: list[str]) -> None:
    tracked, plain = World(trackers=("mlflow", "wandb")), World()
    for step in steps:
        for world in (tracked, plain):
            act(world, step)
            world.make_pass()
        alive = [job.tracker for job in tracked.followers.values() if job.alive]
        assert len(alive) == len(set(alive))
        assert tracked.status["state"] == plain.status["state"]
        assert tracked.status["stages"] == plain.status["stages"]
        assert tracked.created == plain.created


def act(world: World, step: str) -> None:
    active = world.active()
    if step == "finish" and active:
        world.finish(active[0])
    elif step == "fail" and active:
        world.fail(active[0])
    elif step in ("edit", "suspend"):
        world.generation += 1
        world.suspend = step == "suspend"
    elif step == "retry":
        world.retry += "x"
    elif step == "gone":
        for name in [job.name for job in world.jobs.values() if job.state == "terminating"]:
            world.remove(name)
        world.followers = {name: job for name, job in world.followers.items() if not job.terminating}
    elif step == "follower fails":
        for name, job in world.followers.items():
            world.followers[name] = replace(job, alive=job.terminating, trouble="no luck")


def test_a_failed_job_says_what_its_pod_said() -> None:
    job = make_follower(VIEW, "mlflow", experiment(MLFLOW), SETTINGS)
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}
    job["status"] = {"conditions": [failed]}
    pod = {
        "metadata": {"labels": {"batch.kubernetes.io/job-name": follower_name(VIEW, "mlflow")}},
        "status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 1, "message": "no such host"}}}]},
    }
    assert parse.follower_views([job], [pod]) == (
        FollowerView(job["metadata"]["name"], "mlflow", alive=False, trouble="no such host"),
    )
    assert parse.follower_views([job], ())[0].trouble == "too often"
