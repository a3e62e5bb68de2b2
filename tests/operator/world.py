"""A cluster in memory for tests of the pure part: Jobs that end as told, a store that holds what complete Jobs commit.
No stand-in for the API server, which the cluster's tests use for real; it makes observations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from misstep.artifacts.progress import Heartbeat
from misstep.plan.frozen import External
from misstep.plan.planner import Plan, plan
from misstep.spec import parse_experiment
from misstep_operator.decision.decision import Decision, decide
from misstep_operator.jobs.follower import follower_name
from misstep_operator.jobs.job import job_name
from misstep_operator.observed import (
    DISRUPTED,
    ComputedElsewhere,
    ExperimentView,
    FollowerView,
    JobState,
    JobView,
    Observed,
    StoreView,
)

MODEL = {"model": External(uri="s3://b/m", digest="sha256:1")}
SOURCES = {f"source_{split}": External(uri="s3://b/x", digest="sha256:2") for split in ("train", "test")}


def small_plan(changes: str = "") -> Plan:
    lines = "\n".join(f"  {line}" for line in changes.splitlines())
    made = parse_experiment(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: e}}
spec:
  storage: {{uri: "s3://bucket/prefix"}}
  problems:
    train: {{format: gsm8k, path: data}}
    sizes: [100]
  policy: {{model: {{path: base}}}}
  arms:
    - {{name: sft, method: sft}}
    - {{name: dpo, method: dpo, pairs: shared-prefix}}
{lines}
""")
    return plan(made, MODEL | SOURCES)


PLAN = small_plan()


@dataclass
class World:
    """One Experiment, its Jobs, and its store."""

    plan: Plan = PLAN
    generation: int = 1
    suspend: bool = False
    retry: str = ""
    trackers: tuple[str, ...] = ()
    not_tracked: dict[str, str] = field(default_factory=dict)
    attempts: int = 3
    retries: int = 3
    status: Mapping[str, Any] = field(default_factory=dict)
    jobs: dict[str, JobView] = field(default_factory=dict)
    committed: set[str] = field(default_factory=set)
    store_error: str = ""
    store_unlisted: str = ""
    warnings: dict[str, str] = field(default_factory=dict)
    heartbeats: dict[str, list[Heartbeat]] = field(default_factory=dict)
    elsewhere: dict[str, ComputedElsewhere] = field(default_factory=dict)
    now: float = 1_000_000.0
    created: list[str] = field(default_factory=list)
    followers: dict[str, FollowerView] = field(default_factory=dict)

    def observe(self) -> Observed:
        view = ExperimentView(
            "ns",
            "e",
            "uid",
            self.generation,
            self.suspend,
            self.status,
            retry=self.retry,
            attempts=self.attempts,
            retries=self.retries,
            trackers=self.trackers,
            not_tracked=self.not_tracked,
        )
        store = StoreView(frozenset(self.committed), self.heartbeats, warnings=self.warnings)
        if self.store_error or self.store_unlisted:
            store = StoreView(error=self.store_error, unlisted=self.store_unlisted)
        jobs, followers = tuple(self.jobs.values()), tuple(self.followers.values())
        return Observed(view, self.plan, jobs, dict(self.elsewhere), store, self.now, followers=followers)

    def step(self) -> Decision:
        """Make a pass; before it, where this generation has no answer yet, the pass that does no more than answer."""
        if self.observe().experiment.is_current:
            return self.make_pass()
        first, second = self.make_pass(), self.make_pass()
        status = second.status if second.status is not None else first.status
        return Decision(
            first.jobs_to_delete + second.jobs_to_delete,
            second.jobs_to_create,
            first.followers_to_create + second.followers_to_create,
            status,
            first.events + second.events,
        )

    def make_pass(self) -> Decision:
        """Make one pass and carry it out, as the API server would."""
        self.now += 10
        seen = self.observe()
        decision = decide(seen)
        for name in decision.jobs_to_delete:
            if name in self.followers:
                self.followers[name] = replace(self.followers[name], terminating=True)
                continue
            self.jobs[name] = replace(self.jobs[name], state=JobState.TERMINATING, reason="", stuck=False)
        for start in decision.jobs_to_create:
            key = start.stage.key
            name = job_name("uid", key, start.attempt)
            if name not in self.jobs:
                self.jobs[name] = JobView(name, key, start.stage.name, start.attempt, JobState.ACTIVE)
                self.created.append(name)
        for tracker in decision.followers_to_create:
            name = follower_name(seen.experiment, tracker)
            self.followers.setdefault(name, FollowerView(name, tracker, alive=True))
        if decision.status is not None:
            self.status = decision.status
        return decision

    def settle(self) -> None:
        """Make passes until one changes nothing."""
        for _ in range(5):
            if self.step() == Decision():
                return
        raise AssertionError("passes without end over a world in which nothing happens")

    def alive(self, key: str) -> list[JobView]:
        return [job for job in self.jobs.values() if job.key == key and job.alive]

    def finish(self, name: str) -> None:
        """Let a Job complete: its result is committed."""
        self.jobs[name] = replace(self.jobs[name], state=JobState.COMPLETE)
        self.committed.add(self.jobs[name].key)

    def fail(self, name: str, reason: str = "BackoffLimitExceeded", message: str = "no luck") -> None:
        self.jobs[name] = replace(self.jobs[name], state=JobState.FAILED, reason=reason, message=message)

    def evict(self, name: str, *, stuck: bool = False) -> None:
        """Let a training over several pods lose one by an eviction, or with its node."""
        self.fail(name, DISRUPTED, "a pod was evicted")
        self.jobs[name] = replace(self.jobs[name], stuck=stuck)

    def remove(self, name: str) -> None:
        del self.jobs[name]

    def active(self) -> list[str]:
        return sorted(job.name for job in self.jobs.values() if job.state is JobState.ACTIVE)

    def run_to_the_end(self, most: int = 60) -> str:
        """Let every Job complete, and every deletion end, until nothing changes; return the state."""
        for _ in range(most):
            for name in self.active():
                self.finish(name)
            for name in [job.name for job in self.jobs.values() if job.state is JobState.TERMINATING]:
                self.remove(name)
            if self.step() == Decision() and not any(job.alive for job in self.jobs.values()):
                break
        return str(self.status.get("state"))

    def entry(self, stage: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = next(entry for entry in self.status["stages"] if entry["name"] == stage)
        return found

    def condition(self, kind: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = next(entry for entry in self.status["conditions"] if entry["type"] == kind)
        return found
