"""What the operator tells Prometheus: from statuses as they are, and from Jobs, each counted once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import generate_latest

from misstep_operator.api.parse import job_views
from misstep_operator.metrics import Metrics
from misstep_operator.observed import JobState, StoreView
from tests.operator.test_parse import LABELS, condition, job, pod
from tests.operator.world import World, small_plan

GPUS = small_plan("""
resources:
  sft: {gpus: 2, nodes: 2, memory: 64Gi}
""")


def step(world: World, *all_metrics: Metrics) -> None:
    """A pass, as ``reconciler.py`` makes it."""
    seen = world.observe()
    world.step()
    for metrics in all_metrics:
        metrics.record(seen.experiment, world.status, replace(seen, now=world.now))


def end(world: World, name: str, seconds: float, state: JobState = JobState.COMPLETE, reason: str = "") -> None:
    began = world.now - seconds
    world.jobs[name] = replace(world.jobs[name], state=state, started=began, ended=world.now, reason=reason)
    if state is JobState.COMPLETE:
        world.committed.add(world.jobs[name].key)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_metrics_follow_statuses_and_go_with_their_experiment() -> None:
    metrics, world = Metrics(), World()
    world.step()
    seen = world.observe()
    metrics.record(seen.experiment, world.status, seen)
    text = generate_latest(metrics.registry).decode()
    assert 'misstep_experiments{state="Running"} 1.0' in text
    assert 'misstep_stage_progress_ratio{experiment="e",namespace="ns",stage="problems"} 0.0' in text
    assert 'misstep_experiment_stages{experiment="e",namespace="ns",state="waiting"} 14.0' in text
    assert 'misstep_store_readable{experiment="e",namespace="ns"} 1.0' in text
    reported = replace(seen, store=StoreView(accuracies={("dpo", "100"): 0.5}))
    metrics.record(seen.experiment, world.status, reported)
    labels = {"namespace": "ns", "experiment": "e", "arm": "dpo", "size": "100"}
    assert value(metrics, "misstep_experiment_accuracy_ratio", **labels) == 0.5
    metrics.forget("ns", "e")
    text = generate_latest(metrics.registry).decode()
    assert 'namespace="ns"' not in text
    assert "misstep_build_info" in text


def test_results_stay_until_the_experiment_runs_again() -> None:
    metrics, world = Metrics(), World()
    labels = {"namespace": "ns", "experiment": "e", "arm": "dpo", "size": "100"}
    seen = world.observe()
    done = replace(seen.experiment, status={"state": "Succeeded"})
    assert metrics.lacks_results(done), "an operator that has just started knows none"
    metrics.record_idle(done)
    assert metrics.lacks_results(done)
    metrics.record(done, done.status, replace(seen, store=StoreView(accuracies={("dpo", "100"): 0.5})))
    metrics.record(done, done.status, seen)  # woken: the store is not read again
    metrics.record_idle(done)
    assert value(metrics, "misstep_experiment_accuracy_ratio", **labels) == 0.5
    assert not metrics.lacks_results(done)
    metrics.record(done, {"state": "Running"}, seen)
    assert 'arm="dpo"' not in generate_latest(metrics.registry).decode()


def test_a_stage_is_counted_once_whoever_looks_and_how_often() -> None:
    before, world = Metrics(), World()
    step(world, before)
    (problems,) = world.active()
    end(world, problems, 60)
    step(world, before)
    after = Metrics()  # another process, which sees the same Jobs
    for _ in range(3):
        step(world, before, after)
    assert value(before, "misstep_stage_duration_seconds_count", kind="problems") == 1
    assert value(before, "misstep_stage_duration_seconds_sum", kind="problems") == 60
    assert value(after, "misstep_stage_duration_seconds_count", kind="problems") == 0
    when = value(after, "misstep_stage_last_success_timestamp_seconds", namespace="ns", experiment="e")
    assert when == world.jobs[problems].ended, "read again from the Job"


def test_what_ended_while_no_operator_ran_is_counted_by_the_next() -> None:
    world, after = World(), Metrics()
    step(world)
    (problems,) = world.active()
    end(world, problems, 60)
    step(world, after)
    assert value(after, "misstep_stage_duration_seconds_count", kind="problems") == 1


def test_a_stage_whose_result_is_there_before_its_job_has_ended_is_counted_too() -> None:
    metrics, world = Metrics(), World()
    step(world, metrics)
    (problems,) = world.active()
    world.committed.add(world.jobs[problems].key)
    step(world, metrics)
    assert world.entry("problems")["state"] == "done"
    end(world, problems, 60)
    for _ in range(2):
        step(world, metrics)
    assert value(metrics, "misstep_stage_duration_seconds_count", kind="problems") == 1


def test_failures_have_the_reason_of_their_job() -> None:
    metrics, world = Metrics(), World()
    step(world, metrics)
    for reason in ("BackoffLimitExceeded", "DeadlineExceeded", "DeadlineExceeded"):
        (name,) = world.active()
        end(world, name, 5, JobState.FAILED, reason)
        step(world, metrics)
        step(world, metrics)
    assert value(metrics, "misstep_stage_failures_total", kind="problems", reason="BackoffLimitExceeded") == 1
    assert value(metrics, "misstep_stage_failures_total", kind="problems", reason="DeadlineExceeded") == 2
    assert value(metrics, "misstep_stage_duration_seconds_count", kind="problems") == 0


def test_a_gap_is_from_the_last_input_to_the_first_pod_unless_somebody_has_just_asked() -> None:
    metrics, world = Metrics(), World()
    step(world, metrics)
    for _ in ("problems", "inspect"):
        (before,) = world.active()
        end(world, before, 60)
        ended = world.now
        step(world, metrics)
    (sft,) = [name for name in world.active() if name.startswith("sft-")]
    world.jobs[sft] = replace(world.jobs[sft], running_since=ended + 7)
    late = Metrics()
    for _ in range(2):
        step(world, metrics, late)
    assert value(metrics, "misstep_stage_gap_seconds_sum", kind="sft") == 7
    assert value(metrics, "misstep_stage_gap_seconds_count", kind="sft") == 1
    assert value(late, "misstep_stage_gap_seconds_count", kind="sft") == 0, "it has not seen where the gap began"


def test_gpu_time_is_that_of_pods_that_ran_while_somebody_looked() -> None:
    metrics, world = Metrics(), World(plan=GPUS)
    step(world, metrics)
    for _ in ("problems", "inspect"):
        end(world, world.active()[0], 60)
        for _ in range(2):
            step(world, metrics)
    (sft,) = [name for name in world.active() if name.startswith("sft-")]
    world.jobs[sft] = replace(world.jobs[sft], started=world.now - 1000, running=2)
    after = Metrics()
    step(world, metrics, after)
    assert value(metrics, "misstep_stage_gpu_seconds_total", kind="sft") == 0, "nobody knows since when"
    step(world, metrics, after)
    assert value(metrics, "misstep_stage_gpu_seconds_total", kind="sft") == 10 * 2 * 2
    world.now += 3
    end(world, sft, 1023)
    step(world, metrics, after)
    step(world, metrics, after)
    assert value(metrics, "misstep_stage_gpu_seconds_total", kind="sft") == 13 * 2 * 2
    assert value(after, "misstep_stage_gpu_seconds_total", kind="sft") == 13 * 2 * 2


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        ({"completionTime": "2026-01-01T00:00:05Z"}, 5),
        ({"conditions": [condition("Failed")["conditions"][0] | {"lastTransitionTime": "2026-01-01T00:00:07Z"}]}, 7),
        ({"ready": 2}, None),
    ],
)
def test_times_of_a_job_and_its_pods(status: dict[str, object], ended: int | None) -> None:
    began = 1767225600.0
    running = [{"state": {"running": {"startedAt": f"2026-01-01T00:00:0{second}Z"}}} for second in (3, 2)]
    (view,) = job_views([job(status)], [pod(containerStatuses=[each]) for each in running])
    assert LABELS["misstep.dev/key"] == view.key
    assert view.ended == (None if ended is None else began + ended)
    assert (view.running_since, view.running) == (began + 2, status.get("ready", 0))
