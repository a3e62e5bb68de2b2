"""A pass decides from what it sees: stories, and properties of passes over any world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.artifacts.progress import Heartbeat
from misstep.errors import BadInput, MisstepError
from misstep.plan.configmap import PlanUnreadable
from misstep.plan.planner import Plan
from misstep.store.description import Storage
from misstep_operator.decision.decision import Decision, decide
from misstep_operator.decision.stage_states import FAIL_JOB
from misstep_operator.decision.status import finished_status, is_idle
from misstep_operator.jobs.job import storage_id
from misstep_operator.jobs.pod import is_multi_node
from misstep_operator.observed import ComputedElsewhere, JobState, JobView, PodProblem, StoreView
from tests.operator.world import PLAN, World, small_plan

FIRST, SECOND = "problems", "inspect"


def test_stages_start_as_their_inputs_are_there_until_the_report() -> None:
    world = World()
    first = world.step()
    assert [start.stage.name for start in first.jobs_to_create] == [FIRST]
    assert world.status["progress"] == f"0/{len(PLAN.stages)}"
    assert world.status["state"] == "Running"
    assert world.step() == Decision()
    world.finish(world.active()[0])
    second = world.step()
    assert [start.stage.name for start in second.jobs_to_create] == [SECOND]
    assert [notice.reason.value for notice in second.events] == ["StageDone", "StageStarted"]
    world.finish(world.active()[0])
    assert [start.stage.name for start in world.step().jobs_to_create] == ["sft-d100-s0"]
    assert world.run_to_the_end() == "Succeeded"
    assert world.condition("Succeeded")["status"] == "True"
    assert world.status["report"] == f"s3://bucket/prefix/{PLAN.report.key}/report.html"
    assert len(world.created) == len(PLAN.stages)


def test_warnings_stand_beside_their_stages_also_while_the_store_is_silent() -> None:
    world = World()
    while "sample-d100-s0" not in world.status.get("runningStages", ""):
        world.step()
        for name in world.active():
            if world.jobs[name].stage != "sample-d100-s0":
                world.finish(name)
    policy, sampled = (PLAN.stage(name).key for name in ("sft-d100-s0", "sample-d100-s0"))
    world.warnings[policy] = "The policy knows its problems."
    beat = Heartbeat(shard=0, done=1, total=4, unit="samples", updated=world.now, detail={"warning": "over-trained"})
    world.heartbeats[sampled] = [beat]

    def said() -> dict[str, str]:
        return {s["key"]: s["message"] for s in world.status["stages"] if "message" in s}

    world.settle()
    assert said() == {policy: "The policy knows its problems.", sampled: "over-trained"}
    world.store_error = "no answer"
    world.settle()
    assert said() == {policy: "The policy knows its problems."}, "remembered"
    world.store_error = ""
    world.warnings.clear()
    world.settle()
    assert said() == {sampled: "over-trained"}
    assert world.status["message"] == "", "a warning stands in nobody's way"


def test_nothing_starts_before_its_generation_is_answered() -> None:
    """Where no status can be written, nobody counts attempts."""
    world = World()
    seen = world.observe()
    decision = decide(seen)
    assert (decision.jobs_to_create, decision.jobs_to_delete) == ((), ())
    assert world.make_pass().status is not None
    assert [start.stage.name for start in world.make_pass().jobs_to_create] == [FIRST]


def test_a_job_that_the_api_server_refuses_is_named_and_the_rest_goes_on() -> None:
    world = World()
    world.make_pass()
    seen = world.observe()
    (start,) = decide(seen).jobs_to_create
    decision = decide(replace(seen, refused={start.stage.key: "exceeded quota"}))
    assert not decision.jobs_to_create
    assert decision.status is not None
    assert decision.status["state"] == "Waiting"
    assert decision.status["message"] == f"{FIRST}: the API server refuses its Job: exceeded quota"
    assert "attempt" not in decision.status["stages"][0]


def test_what_the_store_holds_is_never_computed() -> None:
    world = World(committed={stage.key for stage in PLAN.stages if stage.kind != "report"})
    world.step()
    assert [world.jobs[name].stage for name in world.active()] == ["report"]


def test_a_stage_that_refuses_its_input_fails_the_experiment_with_its_own_words() -> None:
    world = World()
    world.step()
    world.fail(world.active()[0], FAIL_JOB, "spec.problems.train: no such file. Give one.")
    world.settle()
    assert world.status["state"] == "Failed"
    assert world.status["message"] == "problems: spec.problems.train: no such file. Give one."
    assert world.condition("Failed")["reason"] == "BadInput"
    assert world.created == [world.created[0]]


def test_other_failures_are_tried_again_and_again_as_often_as_attempts_says() -> None:
    world = World(attempts=2)
    world.step()
    world.fail(world.active()[0])
    retried = world.step()
    assert [(start.stage.name, start.attempt) for start in retried.jobs_to_create] == [(FIRST, 2)]
    assert [notice.reason.value for notice in retried.events] == ["StageRetried", "StageStarted"]
    world.fail(world.active()[0])
    world.settle()
    assert world.status["state"] == "Failed"
    assert len(world.created) == 2
    world.retry = "please"
    world.step()
    assert world.jobs[world.active()[0]].attempt == 3
    assert world.run_to_the_end() == "Succeeded"


@pytest.mark.parametrize("fails", [False, True])
def test_whether_an_experiment_is_over_needs_its_jobs_alone_until_somebody_asks_for_more(fails: bool) -> None:
    world = World(attempts=1)
    world.step()
    if fails:
        world.fail(world.active()[0])
    world.run_to_the_end()
    seen = replace(world.observe(), store=StoreView())
    assert world.status["state"] == ("Failed" if fails else "Succeeded")
    assert finished_status(seen)
    assert decide(seen) == Decision()
    for asked in (
        replace(seen.experiment, generation=2),
        replace(seen.experiment, retry="please"),
        replace(seen.experiment, generation=2, suspend=True),
    ):
        assert not finished_status(replace(seen, experiment=asked))


def test_a_job_deleted_by_hand_is_made_again_under_another_name() -> None:
    world = World()
    world.step()
    world.remove(world.active()[0])
    world.settle()
    assert [world.jobs[name].attempt for name in world.active()] == [2]
    assert world.run_to_the_end() == "Succeeded"


def test_a_complete_job_without_a_result_counts_as_failed() -> None:
    world = World()
    world.step()
    name = world.active()[0]
    world.finish(name)
    world.committed.clear()
    world.step()
    assert "not in the store" in world.entry(FIRST)["message"]
    assert [world.jobs[job].attempt for job in world.active()] == [2]


def test_where_the_store_cannot_be_read_jobs_say_what_is_done() -> None:
    world = World(store_error="spec.storage: 403")
    world.step()
    assert {**world.condition("StoreReadable"), "message": ""} == {
        **world.condition("StoreReadable"),
        "status": "False",
        "message": "",
    }
    assert world.condition("StoreReadable")["message"] == "spec.storage: 403"
    assert world.run_to_the_end() == "Succeeded"


def test_suspension_ends_jobs_and_keeps_results_and_counts_no_failure() -> None:
    world = World()
    world.step()
    world.finish(world.active()[0])
    world.step()
    world.suspend, world.generation = True, 2
    decision = world.step()
    assert len(decision.jobs_to_delete) == 1
    assert not decision.jobs_to_create
    assert world.status["state"] == "Suspended"
    world.settle()
    assert world.status["message"] == "spec.suspend is true; its last Job is being deleted"
    world.jobs = {name: job for name, job in world.jobs.items() if not job.alive}
    world.settle()
    assert world.status["completed"] == 1
    world.suspend, world.generation = False, 3
    world.step()
    assert [(world.jobs[name].stage, world.jobs[name].attempt) for name in world.active()] == [(SECOND, 2)]
    assert world.entry(SECOND)["ignoredAttempts"] == 1
    assert world.run_to_the_end() == "Succeeded"


def test_a_suspension_is_no_failure() -> None:
    """Where no attempt is to spare: neither while its Jobs end, nor if it goes on before they have."""
    for patience in (False, True):
        world = World(attempts=1)
        world.step()
        (job,) = world.active()
        world.suspend, world.generation = True, 2
        world.settle()
        if patience:
            world.remove(job)
            world.settle()
        assert world.status["state"] == "Suspended"
        assert world.entry(FIRST)["state"] != "failed"
        world.suspend, world.generation = False, 3
        world.settle()
        assert world.run_to_the_end() == "Succeeded"
        assert next(world.jobs[name].attempt for name in world.created if name in world.jobs) == 2


@pytest.mark.parametrize("why", [BadInput("spec.x", 1, "Fix it."), PlanUnreadable("damaged")])
def test_a_suspension_ends_jobs_also_where_there_is_no_plan(why: MisstepError) -> None:
    world = World()
    world.step()
    world.suspend, world.generation = True, 2
    seen = replace(world.observe(), plan=why)
    decision = decide(seen)
    assert list(decision.jobs_to_delete) == world.active()
    assert decision.status is not None
    assert decision.status["state"] == ("Invalid" if isinstance(why, BadInput) else "Waiting")
    assert [entry["name"] for entry in decision.status["stages"]], "they are remembered"
    assert not decide(replace(seen, experiment=replace(seen.experiment, suspend=False))).jobs_to_delete


def test_an_edit_ends_what_is_no_longer_wanted_and_reuses_the_rest() -> None:
    world = World()
    assert world.run_to_the_end() == "Succeeded"
    before = set(world.created)
    world.plan, world.generation = small_plan("training: {dpo: {beta: 0.5}}"), 2
    assert world.run_to_the_end() == "Succeeded"
    again = {world.jobs[name].stage for name in world.created if name not in before}
    assert again == {"dpo-d100-s0", "test-dpo-d100-s0", "verify-test-dpo-d100-s0", "score-dpo-d100-s0", "report"}


def test_an_edit_while_a_stage_runs_ends_its_job_only_if_its_key_has_changed() -> None:
    world = World()
    world.step()
    for _ in (FIRST, SECOND):
        world.finish(world.active()[0])
        world.step()
    running = world.active()
    world.plan, world.generation = small_plan("training: {dpo: {beta: 0.5}}"), 2
    assert world.step().jobs_to_delete == ()
    assert world.active() == running
    world.plan, world.generation = small_plan("training: {sft: {epochs: 9}}"), 3
    assert list(world.step().jobs_to_delete) == running


def test_a_stage_that_another_experiment_computes_is_waited_for_and_taken_over() -> None:
    key = PLAN.stages[0].key
    world = World(elsewhere={key: ComputedElsewhere("other", 3600.0)})
    world.settle()
    assert world.status["state"] == "Waiting"
    assert "Experiment other computes the same stage" in world.status["message"]
    world.elsewhere = {}
    world.step()
    assert [world.jobs[name].key for name in world.active()] == [key]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"problem": PodProblem("ImagePullBackOff", "no such image")}, "problems: ImagePullBackOff: no such image"),
        ({"state": JobState.SUSPENDED}, "problems: its Job is suspended, by a queue or by a person"),
    ],
)
def test_it_says_why_a_stage_waits(change: dict[str, object], why: str) -> None:
    world = World()
    world.step()
    name = world.active()[0]
    world.jobs[name] = replace(world.jobs[name], **change)  # type: ignore[arg-type]
    decision = world.step()
    assert not decision.jobs_to_delete
    assert world.status["state"] == "Waiting"
    assert world.status["message"] == why
    assert world.step() == Decision()


def test_an_experiment_that_cannot_be_planned_says_which_field_and_waits_for_an_edit() -> None:
    world = World()
    seen = replace(world.observe(), plan=BadInput("spec.policy.model.path", "base", "Upload it."))
    decision = decide(seen)
    assert decision.status is not None
    assert decision.status["state"] == "Invalid"
    assert decision.status["message"] == "spec.policy.model.path: base. Upload it."
    world.status = decision.status
    assert decide(replace(world.observe(), plan=seen.plan)) == Decision()
    world.generation = 2
    assert world.run_to_the_end() == "Succeeded"


@pytest.mark.parametrize("state", ["Succeeded", "Failed", "Invalid", "Suspended"])
def test_a_state_written_by_hand_ends_nothing(state: str) -> None:
    world = World()
    world.step()
    world.finish(world.active()[0])
    world.status = {**world.status, "state": state}
    assert not is_idle(world.observe().experiment)
    assert world.step().jobs_to_create
    assert world.status["state"] == "Running"


def test_a_finished_status_that_was_emptied_is_written_again_from_the_store() -> None:
    world = World()
    assert world.run_to_the_end() == "Succeeded"
    whole, jobs = world.status, len(world.created)
    for damaged in {}, {**whole, "stages": []}, {**whole, "conditions": []}:
        world.status = damaged
        assert not is_idle(world.observe().experiment)
        world.settle()
        assert world.status["state"] == "Succeeded"
        assert world.status["progress"] == whole["progress"]
        assert is_idle(world.observe().experiment)
    assert len(world.created) == jobs


TOGETHER = "resources: {sft: {nodes: 2}, dpo: {nodes: 4}}\n"
"""Trainings over several pods."""
OF_NODES = small_plan(TOGETHER)
KINDS = [
    "evict",
    "finish",
    "finish",
    "fail",
    "refuse",
    "vanish",
    "ended",
    "pass",
    "edit",
    "suspend",
    "store",
    "spoil",
    "retry",
]
EVENTS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 6)), max_size=40)
DAMAGED: list[dict[str, object]] = [
    {},
    {"stages": 5},
    {"stages": [{"key": 3}, 7]},
    {"state": "Failed"},
    {"state": "Succeeded"},
    {"conditions": "x"},
    {"stages": [{}]},
]
"""What hands may write into a status."""


def happen(world: World, event: str, which: int) -> None:
    """Let something happen to a world."""
    active = world.active()
    name = active[which % len(active)] if active else None
    if event == "edit":
        beta = f"0.{which + 1}"
        together = TOGETHER if any(map(is_multi_node, world.plan.stages)) else ""
        world.plan = small_plan(f"{together}training: {{dpo: {{beta: '{beta}'}}}}")
        world.generation += 1
    elif event == "suspend":
        world.suspend, world.generation = not world.suspend, world.generation + 1
    elif event == "store":
        world.store_error = "" if world.store_error else "it is down"
    elif event == "spoil":
        world.status = {**world.status, **DAMAGED[which]}
    elif event == "retry":
        world.retry = str(which)
    elif event == "ended":
        for job in [job.name for job in world.jobs.values() if job.state is JobState.TERMINATING]:
            world.remove(job)
    elif name is not None:
        match event:
            case "finish":
                world.finish(name)
            case "fail":
                world.fail(name)
            case "refuse":
                world.fail(name, FAIL_JOB)
            case "evict" if is_multi_node(world.plan.by_key[world.jobs[name].key]):
                world.evict(name, stuck=which > 3)
            case "vanish":
                world.remove(name)
    world.step()


@given(EVENTS, st.booleans())
def test_whatever_happens_no_stage_has_two_live_jobs_and_passes_come_to_rest(
    events: list[tuple[str, int]], together: bool
) -> None:
    """Of a training over several pods, a Job that is being deleted does no work any more: the next is not to wait."""
    world = World(OF_NODES if together else PLAN)
    for event, which in events:
        happen(world, event, which)
        for stage in world.plan.stages:
            alive = [job for job in world.alive(stage.key) if not is_multi_node(stage) or job.state is JobState.ACTIVE]
            assert len(alive) <= 1
        assert decide(world.observe()) == decide(world.observe())
    world.settle()


@given(EVENTS, st.booleans())
def test_from_anywhere_it_gets_to_the_report_once_jobs_succeed(events: list[tuple[str, int]], together: bool) -> None:
    world = World(OF_NODES if together else PLAN)
    for event, which in events:
        happen(world, event, which)
    world.suspend, world.store_error, world.generation = False, "", world.generation + 1
    assert world.run_to_the_end() == "Succeeded"
    assert {stage.key for stage in world.plan.stages} <= world.committed
    # Finished is absorbing: not even an empty store brings it back to life.
    world.committed.clear()
    world.jobs.clear()
    assert world.step() == Decision()


@given(EVENTS)
def test_nothing_that_is_committed_is_started_again(events: list[tuple[str, int]]) -> None:
    world = World()
    for event, which in events:
        happen(world, event, which)
        if not world.store_error:
            starts = {start.stage.key for start in decide(world.observe()).jobs_to_create}
            assert not starts & world.committed


def test_jobs_that_are_not_ours_by_key_are_left_alone_once_they_have_ended() -> None:
    world = World()
    world.jobs["old"] = JobView("old", "sft-0", "sft", 1, JobState.COMPLETE)
    assert world.step().jobs_to_delete == ()


@pytest.mark.parametrize("unlisted", ["", "not in the list"])
def test_an_edit_of_the_store_does_all_of_it_in_the_new_one(unlisted: str) -> None:
    """Keys hold no store: what is done in the old place, or runs for it, says nothing of the new one."""
    world = World(store_unlisted=unlisted)
    world.step()
    (first,) = world.active()
    old = storage_id(world.plan.storage)
    world.jobs[first] = replace(world.jobs[first], storage=old)
    moved = Storage(uri="s3://bucket/elsewhere")
    stages = tuple(stage.model_copy(update={"storage": moved}) for stage in world.plan.stages)
    world.plan, world.generation = Plan(experiment=PLAN.experiment, stages=stages), 2
    assert world.step().jobs_to_delete == (first,)
    assert world.jobs[first].key not in {job.key for job in world.jobs.values() if job.state is JobState.ACTIVE}
    world.remove(first)
    assert [start.attempt for start in world.step().jobs_to_create] == [2]
    assert world.run_to_the_end() == "Succeeded"
    world.committed.clear()
    world.plan, world.generation = PLAN, 3
    for name in world.jobs:
        world.jobs[name] = replace(world.jobs[name], storage=storage_id(moved))
    world.step()
    assert world.status["state"] != "Succeeded"
    assert world.status["completed"] == 0


def of_earlier_version(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status with the names that version 0.1.0 did not have yet, as its CRD keeps the new ones only."""
    gone = ("message", "observedRetry", "completed", "runningStages", "storeHash")
    counts = ("ignoredAttempts", "lastDisruptedAttempt", "waitStartTime")
    entries = [{name: entry[name] for name in entry if name not in counts} for entry in status["stages"]]
    return {**{name: status[name] for name in status if name not in gone}, "stages": entries}


@pytest.mark.parametrize("state", ["Succeeded", "Failed"])
def test_an_end_that_an_earlier_version_wrote_stays_an_end(state: str) -> None:
    world = World(attempts=1, retry="asked")
    world.step()
    if state == "Failed":
        world.fail(world.active()[0])
    assert world.run_to_the_end() == state
    world.status = of_earlier_version(world.status)
    assert is_idle(world.observe().experiment)
    assert world.step() == Decision()


def test_what_an_earlier_version_counted_is_not_taken_for_failures() -> None:
    world = World(attempts=2)
    world.step()
    for _ in range(3):  # two failures, an edit, and a failure
        world.fail(world.active()[0])
        world.step()
        if world.status["state"] == "Failed":
            world.generation += 1
            world.settle()
    world.status = of_earlier_version(world.status)
    world.status["stages"][0]["state"] = "taken"
    assert decide(world.observe()).status
    world.settle()
    assert world.status["state"] == "Running"
    assert world.run_to_the_end() == "Succeeded"
