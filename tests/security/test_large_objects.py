"""A tenant's Jobs, pods and events are large and many: the operator keeps what it reads of each, and no more."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from misstep.errors import MisstepError
from misstep_operator import observed as o
from misstep_operator.api import parse, trim
from misstep_operator.api.client import _MAX_LINE_BYTES, _lines
from misstep_operator.api.kubernetes import KubernetesApi

MARKS = {o.KEY_LABEL: "verify-0123", o.ATTEMPT_LABEL: "1", o.STAGE_LABEL: "verify", o.STORAGE_LABEL: "here"}


def pod(number: int) -> dict[str, Any]:
    """A pod as large as an Experiment can make one: 64 variables and 32 annotations of 4 KiB."""
    variables = [{"name": f"NCCL_IB_{i}", "value": "x" * 4096} for i in range(64)]
    annotations = {f"kueue.x-k8s.io/a{i}": "x" * 4096 for i in range(32)}
    labels = {"batch.kubernetes.io/job-name": "verify-0123-1", **{f"more{i}": "x" for i in range(500)}}
    waiting = {"reason": "ImagePullBackOff", "message": "m" * 100_000}
    return {
        "metadata": {
            "name": f"p{number}",
            "labels": labels,
            "annotations": annotations,
            "managedFields": [annotations],
        },
        "spec": {"containers": [{"env": variables}]},
        "status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}] * 100},
    }


def job(number: int) -> dict[str, Any]:
    return {
        "metadata": {"name": f"j{number}", "namespace": "a", "labels": MARKS, "ownerReferences": [{"uid": "u"}]},
        "spec": {"completions": 1, "template": pod(number)},
        "status": {"active": 1, "startTime": "2026-11-28T00:00:00Z"},
    }


class Many:
    """An API server that lists many objects."""

    def __init__(self, count: int, make: Any) -> None:
        self.count, self.make, self.given = count, make, 0

    async def items(self, path: str, query: Any = None) -> AsyncGenerator[dict[str, Any]]:
        for number in range(self.count):
            self.given += 1
            yield self.make(number)


def test_what_is_kept_of_a_pod_says_the_same_and_is_small() -> None:
    whole = pod(0)
    kept = trim.trim_pod(whole)
    assert len(json.dumps(kept)) < 300_000 < len(json.dumps(whole))
    said = parse.job_views([trim.trim_job(job(0))], [{**kept, "metadata": {**kept["metadata"]}}])
    assert said[0].storage == "here"
    assert said == parse.job_views([job(0)], [kept])


async def listed(api: Many, what: str) -> Any:
    cluster = KubernetesApi(api, ("a",))  # type: ignore[arg-type]
    if what == "last_warnings":
        return await cluster.last_warnings("a", {"j1"})
    return await (cluster.jobs if what == "jobs" else cluster.pods)("a", "e")


def test_pods_beyond_a_bound_are_not_read() -> None:
    api = Many(trim.MAX_PODS + 100, lambda number: {"metadata": {"name": f"p{number}"}, "status": {}})
    assert len(asyncio.run(listed(api, "pods"))) == trim.MAX_PODS
    assert api.given == trim.MAX_PODS + 1


def test_far_too_many_jobs_are_an_error_that_says_so() -> None:
    api = Many(trim.MAX_JOBS + 1, lambda number: {"metadata": {"name": f"j{number}"}})
    with pytest.raises(MisstepError, match="more than 5000 Jobs"):
        asyncio.run(listed(api, "jobs"))


def test_of_a_flood_of_events_one_message_is_kept_for_each_job_in_question() -> None:
    def event(number: int) -> dict[str, Any]:
        return {
            "involvedObject": {"name": f"j{number % 1000}"},
            "lastTimestamp": f"{number:06d}",
            "message": f"{number} " + "x" * 100_000,
        }

    found = asyncio.run(listed(Many(3000, event), "last_warnings"))
    assert list(found) == ["j1"]
    assert found["j1"].startswith("2001 ")
    assert sys.getsizeof(found["j1"]) < 5000


def test_one_object_that_is_too_long_ends_no_watch() -> None:
    """It would have ended the watch of all namespaces at each try."""

    class Stream:
        async def iter_any(self) -> AsyncIterator[bytes]:
            yield b'{"a": 1}\n{"b"'
            yield b": 2}\n"
            for _ in range(_MAX_LINE_BYTES // (1 << 20) + 1):
                yield b"x" * (1 << 20)
            yield b'tail\n{"c": 3}\n'

    async def read() -> list[bytes]:
        return [line async for line in _lines(Stream())]  # type: ignore[arg-type]

    assert asyncio.run(read()) == [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}']
