"""Every status that the operator writes has the form that the CRD gives it; what it does not name is dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from misstep.errors import BadInput
from misstep_operator.crd.status import STATUS
from misstep_operator.decision.decision import decide
from misstep_operator.decision.stage_states import FAIL_JOB
from misstep_operator.observed import PodProblem
from tests.operator.world import World


def statuses() -> Iterator[tuple[str, dict[str, Any]]]:
    world = World()
    world.step()
    yield "running", dict(world.status)
    name = world.active()[0]
    world.jobs[name] = replace(world.jobs[name], problem=PodProblem("ImagePullBackOff", "no such image"))
    world.step()
    yield "waiting", dict(world.status)
    world.fail(name)
    world.step()
    yield "retried", dict(world.status)
    world.suspend, world.generation = True, 2
    world.step()
    yield "suspended", dict(world.status)
    failed = World()
    failed.step()
    failed.fail(failed.active()[0], FAIL_JOB)
    failed.settle()
    yield "failed", dict(failed.status)
    done = World()
    done.run_to_the_end()
    yield "succeeded", dict(done.status)
    invalid = decide(replace(World().observe(), plan=BadInput("spec.x", 1, "Fix it."))).status
    assert invalid is not None
    yield "invalid", invalid


def unknown(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    """Fields that a schema does not name."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in schema.get("properties", {}):
                yield f"{path}.{name}"
            else:
                yield from unknown(inner, schema["properties"][name], f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from unknown(inner, schema["items"], f"{path}[]")


@pytest.mark.parametrize(("name", "status"), list(statuses()), ids=lambda each: each if isinstance(each, str) else "")
def test_a_status_fits_the_crd(name: str, status: dict[str, Any]) -> None:
    jsonschema.validate(status, STATUS, cls=jsonschema.Draft202012Validator)
    assert list(unknown(status, STATUS, "status")) == []
