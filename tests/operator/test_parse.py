"""The API server's objects, as a pass sees them."""

from __future__ import annotations

from typing import Any

import pytest

from misstep_operator.api.parse import experiment_view, job_views, lacks_pods, other_writers
from misstep_operator.observed import JobState, PodProblem

LABELS = {"misstep.dev/key": "sft-1", "misstep.dev/stage": "sft-d1-s0", "misstep.dev/attempt": "2"}


def job(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "j", "labels": LABELS}, "spec": spec, "status": status or {}}


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": {"batch.kubernetes.io/job-name": "j"}}, "status": status}


def ended(code: int, message: str = "", reason: str = "Error", at: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    terminated = {"exitCode": code, "message": message, "reason": reason, "finishedAt": at}
    return pod(phase="Failed", containerStatuses=[{"state": {"terminated": terminated}}])


def condition(kind: str, reason: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": f"the job's {kind}"}]}


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (job(), JobState.ACTIVE),
        (job(suspend=True), JobState.SUSPENDED),
        (job(condition("Complete")), JobState.COMPLETE),
        (job(condition("Failed")), JobState.FAILED),
        (job(condition("FailureTarget")), JobState.ACTIVE),
        (
            {"metadata": {"name": "j", "labels": LABELS, "deletionTimestamp": "2026-01-01T00:00:00Z"}},
            JobState.TERMINATING,
        ),
    ],
)
def test_states(body: dict[str, Any], state: JobState) -> None:
    (found,) = job_views([body], [])
    assert (found.state, found.attempt, found.key) == (state, 2, "sft-1")


def test_what_is_not_ours_by_its_labels_is_left_out() -> None:
    assert (
        job_views(
            [
                {"metadata": {"name": "x"}},
                {"metadata": {"name": "x", "labels": {**LABELS, "misstep.dev/attempt": "a"}}},
            ],
            [],
        )
        == ()
    )


@pytest.mark.parametrize(
    ("pods", "reason", "message"),
    [
        ([], "BackoffLimitExceeded", "the job's Failed"),
        ([ended(1, "ValueError: no")], "BackoffLimitExceeded", "ValueError: no"),
        ([ended(137, "", "OOMKilled")], "BackoffLimitExceeded", "OOMKilled, exit code 137"),
        ([ended(1, "")], "BackoffLimitExceeded", "exit code 1"),
        (
            [ended(1, "old", at="2026-01-01T00:00:00Z"), ended(1, "new", at="2026-01-01T00:00:09Z")],
            "BackoffLimitExceeded",
            "new",
        ),
        (
            [ended(64, "spec.x: 1. Fix it."), ended(143, "late", at="2027-01-01T00:00:00Z")],
            "PodFailurePolicy",
            "spec.x: 1. Fix it.",
        ),
    ],
)
def test_a_failed_job_has_its_stages_last_words(pods: list[dict[str, Any]], reason: str, message: str) -> None:
    (found,) = job_views([job(condition("Failed", reason))], pods)
    assert (found.reason, found.message) == (reason, message)


def of_training(status: dict[str, Any] | None = None) -> dict[str, Any]:
    """A Job whose two pods are the nodes of one training."""
    marks = {**LABELS, "app.kubernetes.io/component": "sft"}
    return {"metadata": {"name": "j", "labels": marks}, "spec": {"completions": 2}, "status": status or {}}


def test_a_training_over_pods_has_failed_as_soon_as_its_job_will() -> None:
    """The last of its pods may never end. Of other Jobs the pods still work, and another Job would do the same work."""
    target = condition("FailureTarget", "BackoffLimitExceeded")
    target["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    (found,) = job_views([of_training(target)], [ended(1, "connection closed")])
    assert (found.state, found.reason, found.message) == (JobState.FAILED, "BackoffLimitExceeded", "connection closed")
    assert found.ended == 1767225600.0
    sharded = of_training(target)
    sharded["metadata"]["labels"]["app.kubernetes.io/component"] = "sample"
    assert job_views([sharded], [])[0].state is JobState.ACTIVE


@pytest.mark.parametrize("kind", ["FailureTarget", "Failed"])
def test_an_eviction_is_no_failure_of_a_training_over_pods(kind: str) -> None:
    """In the words of Kubernetes' Job controller."""
    text = "Pod research/j-1-x7k2p has condition DisruptionTarget matching FailJob rule at index 1"
    evicted = {"conditions": [{"type": kind, "status": "True", "reason": "PodFailurePolicy", "message": text}]}
    (found,) = job_views([of_training(evicted)], [ended(143, "late")])
    assert found.disrupted
    assert found.message == text
    refusal = "Container stage for pod research/j-1 failed with exit code 64 matching FailJob rule at index 0"
    refused = {"conditions": [{"type": kind, "status": "True", "reason": "PodFailurePolicy", "message": refusal}]}
    (found,) = job_views([of_training(refused)], [ended(64, "spec.x: 1. Change it.")])
    assert (found.reason, found.message) == ("PodFailurePolicy", "spec.x: 1. Change it.")


def test_a_training_over_pods_that_one_refused_is_not_tried_again_whichever_ended_first() -> None:
    pods = [ended(1, "connection closed"), ended(64, "spec.x: 1. Change it.", at="2026-01-01T00:00:09Z")]
    (found,) = job_views([of_training(condition("FailureTarget", "BackoffLimitExceeded"))], pods)
    assert (found.reason, found.message) == ("PodFailurePolicy", "spec.x: 1. Change it.")


def test_a_pod_that_should_have_ended_long_ago_is_lost_with_its_node() -> None:
    going = pod(phase="Running")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    over = 1767225600.0
    (before,) = job_views([of_training()], [going], over + 1)
    assert (before.state, before.stuck) == (JobState.ACTIVE, False)
    (after,) = job_views([of_training()], [going], over + 60)
    assert (after.state, after.stuck, after.disrupted) == (JobState.FAILED, True, True)
    gone = pod(phase="Failed")
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert job_views([of_training()], [gone], over + 60)[0].state is JobState.ACTIVE
    assert job_views([job()], [going], over + 60)[0].state is JobState.ACTIVE, "the Job replaces it by itself"


def test_pods_say_why_they_do_not_run() -> None:
    unschedulable = pod(
        conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no GPU"}]
    )
    pulling = pod(containerStatuses=[{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no image"}}}])
    starting = pod(containerStatuses=[{"state": {"waiting": {"reason": "ContainerCreating"}}}])
    assert job_views([job()], [unschedulable])[0].problem == PodProblem("Unschedulable", "no GPU")
    assert job_views([job()], [starting, pulling])[0].problem == PodProblem("ImagePullBackOff", "no image")
    assert job_views([job()], [starting])[0].problem is None


def test_a_job_without_pods_is_asked_for_its_events_after_a_moment() -> None:
    waiting = job({"startTime": "2026-01-01T00:00:00Z"})
    started = 1767225600.0
    assert not lacks_pods(waiting, [], started + 1)
    assert lacks_pods(waiting, [], started + 6)
    assert not lacks_pods(waiting, [pod()], started + 6)
    assert not lacks_pods(job({"startTime": "2026-01-01T00:00:00Z", **condition("Complete")}), [], started + 6)


def test_another_operator_is_known_by_what_it_wrote_since_our_start() -> None:
    def wrote(manager: str, at: str, subresource: str = "status") -> dict[str, str]:
        return {"manager": manager, "time": at, "subresource": subresource}

    body = {
        "metadata": {
            "managedFields": [
                wrote("misstep-operator/me", "2026-01-01T00:01:00Z"),
                wrote("misstep-operator/before", "2025-12-31T23:00:00Z"),
                wrote("misstep-operator/other", "2026-01-01T00:01:00Z"),
                wrote("kubectl", "2026-01-01T00:01:00Z"),
                {"manager": "kubectl-client-side-apply", "time": "2026-01-01T00:01:00Z"},
            ]
        }
    }
    assert other_writers(body, "misstep-operator/me", 1767225600.0) == {"misstep-operator/other"}


def test_an_experiment_as_the_api_server_holds_it() -> None:
    body = {
        "metadata": {
            "namespace": "n",
            "name": "e",
            "uid": "u",
            "generation": 4,
            "annotations": {"misstep.dev/retry": "once more"},
        },
        "spec": {"suspend": True},
    }
    found = experiment_view(body)
    assert (found.generation, found.suspend, found.retry, found.status) == (4, True, "once more", {})
