"""Operators: killed again and again, and two at once."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.cluster.faults import ALL, Undisturbed, assert_nothing_left, assert_same, operator, small
from tests.cluster.operating import Operating
from tests.sampling import SEED

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("s3_credentials")]


@pytest.mark.faults(seconds=45)
def test_operators_are_killed_at_random_moments(ground: Operating, undisturbed: Undisturbed) -> None:
    """At twenty moments of the stages of six seeds; in a sample, at four of the fifteen stages of one."""
    uri = small(ground, "op-killed")["spec"]["storage"]["uri"]
    document = ground.experiment("op-killed", storage__uri=uri, seeds=list(range(6)) if ALL else [0])
    moments, chance = 20 if ALL else 4, random.Random(os.environ[SEED])
    with operator(ground):
        ground.apply(document)
        for _ in range(moments):
            # Half of them while an operator is still starting, or at its first deeds.
            time.sleep(chance.choice((chance.uniform(0.5, 2), chance.uniform(2, 4))))
            assert ground.status("op-killed").get("state") != "Succeeded", "too early: it has ended already"
            ground.stop_operators(signal.SIGKILL)
            ground.start_operator()
        ground.wait_for_state("op-killed", "Succeeded", 600)
        assert_same(ground, undisturbed, document)
        assert_nothing_left(ground, "op-killed")


@pytest.mark.faults(seconds=45)
def test_two_operators_work_at_once(ground: Operating, undisturbed: Undisturbed) -> None:
    """For a minute at the least, and as long as the Experiment takes; then neither writes any more."""
    document = small(ground, "op-twice")
    began = time.monotonic()
    with operator(ground), operator(ground):
        ground.apply(document)
        ground.wait_for_state("op-twice", "Succeeded")
        assert_same(ground, undisturbed, document)
        version = ground.get("op-twice")["metadata"]["resourceVersion"]
        time.sleep(max(6.0, (60.0 if ALL else 0.0) - (time.monotonic() - began)))
        assert ground.get("op-twice")["metadata"]["resourceVersion"] == version
        events = ground.kubectl("get", "events", "--field-selector=reason=AnotherOperator")
        assert "works on this Experiment too" in events
        assert all(process.poll() is None for process in ground.operators), ground.log()[-4000:]
        assert_nothing_left(ground, "op-twice")
