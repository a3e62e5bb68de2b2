"""Watches that end, break off and are forgotten: what is asked for next, and what is seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from misstep_operator.api import watch
from misstep_operator.api.client import ApiError, ApiUnavailable

Event = tuple[str, dict[str, Any]]


def event(name: str, version: int, kind: str = "MODIFIED") -> Event:
    return kind, {"metadata": {"name": name, "resourceVersion": str(version)}}


def bookmark(version: int) -> Event:
    return "BOOKMARK", {"metadata": {"resourceVersion": str(version)}}


def follow(
    monkeypatch: pytest.MonkeyPatch, *streams: Sequence[Event | Exception], pauses: tuple[float, ...] = (0.0,)
) -> tuple[list[str], list[str], list[str]]:
    """Return the versions that were asked for, the names that were seen, and the errors that were told of."""
    monkeypatch.setattr(watch, "PAUSES", pauses)
    asked: list[str] = []
    seen: list[str] = []
    told: list[str] = []
    left = iter(streams)

    async def source(version: str, seconds: int) -> AsyncIterator[Event]:
        asked.append(version)
        stream = next(left, None)
        if stream is None:
            raise asyncio.CancelledError
        for each in stream:
            if isinstance(each, Exception):
                raise each
            yield each

    async def run() -> None:
        await watch.watch(source, lambda body: seen.append(body["metadata"]["name"]), lambda e: told.append(str(e)))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    return asked, seen, told


def test_a_watch_goes_on_from_its_last_version(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [event("a", 7, "ADDED"), event("b", 3, "ADDED"), bookmark(9), event("c", 12)]
    asked, seen, told = follow(monkeypatch, first, [event("d", 15, "DELETED"), bookmark(20)])
    assert asked == ["", "12", "20"]
    assert seen == ["a", "b", "c", "d"]
    assert told == []


def test_one_that_breaks_off_among_its_first_events_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come in no order of versions: what had not come yet may be older than what had."""
    asked, seen, told = follow(
        monkeypatch, [event("b", 9, "ADDED"), ApiUnavailable("broke off")], [event("a", 3, "ADDED")]
    )
    assert asked == ["", "", ""]
    assert seen == ["b", "a"]
    assert told == ["broke off"]


def test_a_version_that_is_forgotten_is_no_longer_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ApiError(410, "Expired", "too old resource version: 5")
    asked, seen, told = follow(monkeypatch, [bookmark(5)], [gone], [event("a", 3, "ADDED"), bookmark(8)])
    assert asked == ["", "5", "", "8"]
    assert seen == ["a"]
    assert told == [], "it happens to every watch that was away for long"


def test_other_errors_are_told_of_and_tried_again_from_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ApiError(403, "Forbidden", "experiments is forbidden")
    asked, _, told = follow(monkeypatch, [bookmark(5)], [refused], [KeyError("metadata")], [event("a", 6)])
    assert asked == ["", "5", "5", "5", "6"]
    assert told == ["403 Forbidden: experiments is forbidden", "'metadata'"]


def test_tries_that_fail_come_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    follow(monkeypatch, [bookmark(1)], *([ApiUnavailable("away")] for _ in range(6)), pauses=watch.PAUSES)
    assert slept == [0.5, 1.0, 2.0, 5.0, 5.0, 5.0], "and none after an end that was due"
