"""A training over several pods fails as one, and starts again as one: at once, and as often as its budget says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep_operator.decision.decision import Decision
from misstep_operator.decision.stage_states import FAIL_JOB
from misstep_operator.observed import ComputedElsewhere, JobState
from tests.operator.world import World, small_plan

TRAINING = "sft-d100-s0"
PLAN = small_plan("resources: {sft: {nodes: 2}}")


def training(**changes: int) -> World:
    """A world in which the training over two pods has its first Job."""
    world = World(PLAN, **changes)  # type: ignore[arg-type]
    world.committed = {stage.key for stage in PLAN.stages if stage.kind.value in ("problems", "inspect")}
    world.step()
    assert [world.jobs[name].stage for name in world.active()] == [TRAINING]
    return world


def starts(decision: Decision) -> list[tuple[str, int]]:
    return [(start.stage.name, start.attempt) for start in decision.jobs_to_create]


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (0, 3), (1, 2), (3, 3)])
def test_it_has_as_many_jobs_as_single_pods_would_have_had_tries(retries: int, attempts: int) -> None:
    world = training(retries=retries, attempts=attempts)
    most = (retries + 1) * attempts
    for attempt in range(1, most):
        world.fail(world.active()[0])
        decision = world.step()
        assert starts(decision) == [(TRAINING, attempt + 1)]
        assert [notice.reason.value for notice in decision.events] == ["StageRetried", "StageStarted"]
    world.fail(world.active()[0])
    world.settle()
    assert world.status["state"] == "Failed"
    assert len(world.created) == most
    world.retry = "please"
    world.step()
    assert world.jobs[world.active()[0]].attempt == most + 1


def test_what_a_pod_refuses_is_not_tried_again() -> None:
    world = training()
    world.fail(world.active()[0], FAIL_JOB, "spec.training.sft: no. Change it.")
    world.settle()
    assert world.condition("Failed")["reason"] == "BadInput"
    assert len(world.created) == 1


def test_evictions_count_as_no_failure_however_many() -> None:
    world = training(retries=0, attempts=2)
    for attempt in range(1, 8):
        world.evict(world.active()[0])
        decision = world.step()
        assert starts(decision) == [(TRAINING, attempt + 1)]
        said = decision.events[0]
        assert (said.reason.value, said.warning) == ("StageRetried", True)
        assert "does not count as a failure" in said.message
        assert (world.entry(TRAINING)["ignoredAttempts"], world.entry(TRAINING)["lastDisruptedAttempt"]) == (
            attempt,
            attempt,
        )
    world.fail(world.active()[0])
    assert starts(world.step()) == [(TRAINING, 9)]
    world.fail(world.active()[0])
    world.settle()
    assert world.status["state"] == "Failed"


def test_a_lost_node_is_not_waited_for() -> None:
    """Its pod, and with it the Job, may never end: the operator deletes the Job, and starts the next at once."""
    world = training(retries=0, attempts=1)
    (first,) = world.active()
    world.evict(first, stuck=True)
    decision = world.step()
    assert decision.jobs_to_delete == (first,)
    assert starts(decision) == [(TRAINING, 2)]
    assert world.jobs[first].state is JobState.TERMINATING
    assert world.step() == Decision()
    assert world.run_to_the_end() == "Succeeded"


def test_an_eviction_is_remembered_when_its_job_is_gone() -> None:
    """While the next Job cannot be made yet, since another Experiment computes the same."""
    world = training(retries=0, attempts=1)
    (first,) = world.active()
    world.evict(first)
    world.elsewhere = {world.jobs[first].key: ComputedElsewhere("other/e", 3600.0)}
    world.settle()
    assert world.status["state"] == "Waiting"
    world.remove(first)
    world.settle()
    world.elsewhere = {}
    assert starts(world.step()) == [(TRAINING, 2)]
    assert world.run_to_the_end() == "Succeeded"


def test_a_job_deleted_by_hand_is_followed_at_once_and_one_that_a_suspension_ends_is_seen_off() -> None:
    world = training()
    (first,) = world.active()
    world.jobs[first] = replace(world.jobs[first], state=JobState.TERMINATING)
    assert starts(world.step()) == [(TRAINING, 2)]
    world.suspend, world.generation = True, 2
    world.step()
    assert "being deleted" in world.status["message"]
    assert not world.active()


@given(st.lists(st.sampled_from(["fail", "evict", "lost", "expire", "unwritten"]), max_size=30))
def test_failures_count_and_evictions_do_not_whatever_is_forgotten_meanwhile(events: list[str]) -> None:
    """Jobs that have ended expire at any time, and a status may not be written: the count stays right."""
    world = training(retries=1, attempts=3)
    failed = 0
    for event in events:
        (name,) = world.active()
        match event:
            case "fail":
                world.fail(name)
                failed += 1
            case "evict" | "lost":
                world.evict(name, stuck=event == "lost")
            case "expire":
                for job in [job.name for job in world.jobs.values() if job.state is not JobState.ACTIVE]:
                    world.remove(job)
            case "unwritten":  # Jobs were made, and the status that tells of it was not taken
                world.evict(name)
                before = world.status
                world.make_pass()
                world.status = before
        if failed == 6:
            world.settle()
            assert world.status["state"] == "Failed"
            return
        world.settle()
        assert world.status["state"] == "Running"
        counted = world.entry(TRAINING)["attempt"] - world.entry(TRAINING).get("ignoredAttempts", 0) - 1
        assert counted == failed
