"""Finding what a command or a script works on: an experiment, its plan, its store, its folder on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from misstep.errors import BadInput

if TYPE_CHECKING:
    from misstep.cost import PlanCost
    from misstep.plan.frozen import External
    from misstep.plan.planner import Plan
    from misstep.runner.workdir import Workdir
    from misstep.spec import Experiment
    from misstep.store.base import Store

_YAML = (".yaml", ".yml")


def load(file: Path, storage: str | None = None, note: Callable[[str], None] | None = None) -> Experiment:
    """Load and check an Experiment; a relative folder of its store is taken from the current folder.

    Args:
        storage: URI of the store to use instead of the one in the file.
        note: called with what should be written otherwise.

    Raises:
        BadInput: the file cannot be read, or fields are wrong.
    """
    from misstep.spec import load_experiment

    return located(load_experiment(file, note=note), storage)


def located(experiment: Experiment, storage: str | None) -> Experiment:
    """Return an Experiment with its store as an absolute URI, or with another one."""
    uri = absolute_uri(storage or experiment.spec.storage.uri)
    place = experiment.spec.storage.model_copy(update={"uri": uri})
    return experiment.model_copy(update={"spec": experiment.spec.model_copy(update={"storage": place})})


def absolute_uri(uri: str) -> str:
    """Return a ``file://`` URI as an absolute one, relative to the current folder."""
    if not uri.startswith("file://"):
        return uri
    return Path(unquote(uri.removeprefix("file://"))).expanduser().resolve().as_uri()


def make_plan(
    experiment: Experiment, data: Mapping[str, str] | None = None, models: Mapping[str, str] | None = None
) -> Plan:
    """Find the data and models of an Experiment, and return its plan. Raises BadInput.

    Args:
        data: name in the YAML -> local folder.
        models: the same for models.
    """
    return _planned(experiment, data, models)[1]


def make_costed_plan(
    experiment: Experiment, data: Mapping[str, str] | None = None, models: Mapping[str, str] | None = None
) -> tuple[Plan, PlanCost]:
    """Return the plan of an Experiment, as `make_plan` does, and what it will cost."""
    externals, plan = _planned(experiment, data, models)
    return plan, cost_of(plan, experiment, externals)


def _planned(
    experiment: Experiment, data: Mapping[str, str] | None, models: Mapping[str, str] | None
) -> tuple[dict[str, External], Plan]:
    from misstep.plan.planner import plan
    from misstep.sources import resolve

    externals = resolve(experiment, data or {}, models or {})
    return externals, plan(experiment, externals)


def cost_of(plan: Plan, experiment: Experiment, externals: Mapping[str, External]) -> PlanCost:
    """Return what a plan will cost."""
    from misstep.cost import plan_cost
    from misstep.sources import architecture

    teacher, place = externals.get("model_teacher"), plan.storage
    return plan_cost(
        plan,
        architecture(externals["model"], place),
        experiment.spec.assumptions,
        None if teacher is None else architecture(teacher, place),
    )


def store_of(plan: Plan) -> Store:
    """Open the store of a plan's artifacts; commands do not wait long for a server that does not answer."""
    from misstep.store.open import open_store

    return open_store(plan.storage, patient=False)


def workdir_for(name: str, work: Path | None) -> Workdir:
    """Return the folder of an experiment on this machine; it need not exist."""
    from misstep.runner.workdir import Workdir

    return Workdir(work) if work else Workdir.of(name)


def is_yaml(which: str) -> bool:
    """Return whether FILE|NAME is a file."""
    return Path(which).suffix in _YAML or Path(which).is_file()


def find_run(which: str, work: Path | None) -> tuple[Workdir, Plan]:
    """Return the folder and the plan of an experiment that ran here, by its YAML or name. Raises BadInput."""
    from misstep.runner.workdir import ROOT

    name = load(Path(which)).metadata.name if is_yaml(which) else which
    workdir = workdir_for(name, work)
    plan = workdir.read_plan()
    if plan is not None:
        return workdir, plan
    known = sorted(path.parent.name for path in ROOT.glob("*/run.json"))
    here = f"These ran here: {', '.join(known)}." if known else "No experiment has run here."
    start = f"`misstep run {which if name != which else 'FILE'}` starts it."
    if known and name == which:
        start = "Name one of them, or the YAML."
    cluster = "`misstep status`, `logs`, `report` and `audit` read from a cluster with --namespace NAMESPACE."
    raise BadInput("experiment", name, f"It has not run here: {workdir.root} has no plan. {here} {start} {cluster}")
