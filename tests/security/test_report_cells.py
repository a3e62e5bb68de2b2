"""What reports and statuses say becomes metrics: an odd value costs its own series, never everyone's scrape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from misstep.artifacts import manifest as m
from misstep.artifacts import paths
from misstep.store.open import open_store
from misstep_operator.decision.decision import decide
from misstep_operator.metrics import Metrics
from misstep_operator.observed import ExperimentView, JobState, JobView, Observed
from misstep_operator.stores.reader import StoreReader
from misstep_operator.stores.report import accuracies_of, points_of
from tests.operator.world import PLAN, World
from tests.security import hostile_stores as h
from tests.store import servers

GOOD = {"arm": "sft", "size": "100", "accuracy": 0.5}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.own_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


def scrape(metrics: Metrics, name: str = "misstep_experiment_accuracy_ratio") -> dict[str, float]:
    """What Prometheus reads of one metric, by the labels' values in the order of their names."""
    text = generate_latest(metrics.registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {" ".join(value for _, value in sorted(each.labels.items())): each.value for each in families[name].samples}


ODD: dict[str, Any] = {
    "text": [{**GOOD, "accuracy": "n/a"}],
    "null": [{**GOOD, "accuracy": None}],
    "true": [{**GOOD, "accuracy": True}],
    "too much": [{**GOOD, "accuracy": 1e300}],
    "negative": [{**GOOD, "accuracy": -0.5}],
    "number as arm": [{**GOOD, "arm": 7}],
    "list as arm": [{**GOOD, "arm": [1]}],
    "another arm": [{**GOOD, "arm": "team-b"}],
    "another size": [{**GOOD, "size": "1"}],
    "number as size": [{**GOOD, "size": 100}],
    "no cells": {"arm": "sft"},
    "text for cells": "cells",
    "odd cells": [None, 5, [], "x", {}],
    "thousands of cells": [{"arm": f"x{n}", "size": "1", "accuracy": 0.5} for n in range(9_000)],
}


@pytest.mark.parametrize("cells", ODD.values(), ids=ODD.keys())
def test_a_report_with_odd_cells_costs_its_own_series(real: str, cells: Any) -> None:
    """Whoever may write their own prefix blinded everyone's monitoring."""
    storage = h.at(real, "s3://artifacts/odd")
    plan, store = h.plan_at(storage), open_store(storage)
    for stage in plan.stages:
        store.delete(paths.manifest(stage.key))
    receipt = m.Receipt(block=0, blocks=1, parts=(), summary={"cells": [GOOD]}, tools={}, seconds=0.0)
    made = m.assemble(plan.report, [receipt])
    store.put(paths.manifest(plan.report.key), made.model_copy(update={"summary": {"cells": cells}}).encode())
    metrics = Metrics()
    metrics.record(view_of("other"), {"state": "Succeeded"}, seen_of(World(), "other", {("sft", "100"): 0.25}))
    view = StoreReader(h.listing(h.entry(real))).read(plan, (), "team-a")
    assert view.error == ""
    world = replace(World().observe(), store=view, experiment=view_of("odd"))
    status = decide(world).status
    assert status is not None
    metrics.record(view_of("odd"), status, world)
    assert scrape(metrics) == {"sft other ns 100": 0.25}


def view_of(name: str, status: dict[str, Any] | None = None) -> ExperimentView:
    return ExperimentView("ns", name, name, 1, False, status or {})


def seen_of(world: World, name: str, accuracies: dict[tuple[str, str], float]) -> Observed:
    seen = world.observe()
    return replace(seen, experiment=view_of(name), store=replace(seen.store, accuracies=accuracies))


def test_a_huge_manifest_is_an_error_of_its_own_store(real: str) -> None:
    storage = h.at(real, "s3://artifacts/huge")
    plan = h.plan_at(storage)
    open_store(storage).put(paths.manifest(plan.report.key), b" " * (3 << 20))
    stores = StoreReader(h.listing(h.entry(real)))
    assert "is more than 1024 KiB" in stores.read(plan, (), "team-a").error
    assert stores.read(h.plan_at(h.at(real, "s3://artifacts/fine")), (), "team-b").error == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CELLS = st.fixed_dictionaries(
    {}, optional={"arm": JSON | st.just("sft"), "size": JSON | st.just("100"), "accuracy": JSON}
)


@settings(max_examples=100, deadline=None)
@given(cells=st.lists(CELLS | JSON, max_size=6) | JSON)
def test_whatever_stands_in_a_report_its_cells_are_those_of_the_plan(cells: Any) -> None:
    points = points_of(PLAN.report)
    assert ("sft", "100") in points
    found = accuracies_of({"cells": cells}, points)
    assert found.keys() <= points
    assert all(type(value) is float and 0 <= value <= 1 for value in found.values())


def test_honest_cells_are_all_there() -> None:
    cells = [{"arm": arm, "size": size, "accuracy": 0.5, "relation": "exactly"} for arm, size in points_of(PLAN.report)]
    assert accuracies_of({"cells": cells}, points_of(PLAN.report)).keys() == points_of(PLAN.report)


ENTRIES = st.lists(
    JSON
    | st.fixed_dictionaries(
        {}, optional={"name": JSON, "key": JSON, "state": JSON | st.just("running"), "attempt": JSON, "message": JSON}
    ),
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(stages=ENTRIES | JSON, state=JSON, conditions=ENTRIES | JSON)
def test_a_status_that_a_hand_has_written_breaks_no_scrape_and_no_pass(
    stages: Any, state: Any, conditions: Any
) -> None:
    """Older definitions of the resource let much through; and so may who writes statuses."""
    status = {"observedGeneration": 1, "stages": stages, "state": state, "conditions": conditions, "planDigest": stages}
    metrics, world = Metrics(), World(status=status)
    view = world.observe().experiment
    metrics.record_idle(view)
    metrics.record(view, status, world.observe())
    assert scrape(metrics, "misstep_experiments")
    world.step()


def test_one_state_and_one_stage_are_one_series_whatever_they_are_called() -> None:
    odd = [{"name": "a\nb", "state": "running"}, {"name": "x" * 5000, "state": "y" * 5000}, {"state": "running"}]
    metrics = Metrics()
    metrics.record_idle(
        view_of("e", {"state": "z" * 5000, "stages": [*odd, {"name": "sft", "state": "running", "attempt": 2}]})
    )
    assert scrape(metrics, "misstep_experiments") == {"Unknown": 1.0}
    assert scrape(metrics, "misstep_stage_attempts") == {"e ns sft": 2.0}
    assert scrape(metrics, "misstep_experiment_stages") == {"e ns running": 3.0, "e ns unknown": 1.0}


def test_jobs_with_made_up_labels_and_reasons_make_no_series() -> None:
    """Whoever may make Jobs chooses their labels: a counter's series stay for as long as the operator runs."""
    metrics, world = Metrics(), World()
    for state in (JobState.ACTIVE, JobState.FAILED):
        made_up = [JobView(f"j{n}", f"kind{n}-0123", "s", 1, state, reason=f"r{n}") for n in range(100)]
        real = [JobView(f"k{n}", PLAN.stages[0].key, "s", 1, state, reason=f"r{n}") for n in range(100)]
        seen = replace(world.observe(), jobs=tuple(made_up + real))
        metrics.record(seen.experiment, {}, seen)
    text = generate_latest(metrics.registry).decode()
    assert "kind7" not in text
    assert "r7" not in text
    counted = next(line for line in text.splitlines() if 'reason="Other"' in line)
    assert counted.endswith(" 100.0")
