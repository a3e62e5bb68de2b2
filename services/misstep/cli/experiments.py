"""Finding what a command works on: an experiment, its plan, its store, its folder on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from misstep.cli.options import DEFAULT_STORE
from misstep.errors import BadInput
from misstep.printable import printable

if TYPE_CHECKING:
    from misstep.cost import PlanCost
    from misstep.plan.frozen import External
    from misstep.plan.planner import Plan
    from misstep.runner.workdir import Workdir
    from misstep.spec import Experiment
    from misstep.store.base import Store
    from misstep.store.description import Storage

_YAML = (".yaml", ".yml")


def named_folders(option: str, values: Sequence[str] | None) -> dict[str, str]:
    """Parse ``NAME=DIR`` options. Raises BadInput."""
    found: dict[str, str] = {}
    for value in values or ():
        name, equals, folder = value.partition("=")
        if not (name and equals and folder):
            raise BadInput(option, value, f"Write {option} NAME=DIR, with the name that the YAML uses.")
        if name in found:
            raise BadInput(option, value, f"{name} is given twice: give it once.")
        found[name] = folder
    return found


def load(file: Path, storage: str | None = None) -> Experiment:
    """Load an Experiment; a relative folder of its store is taken from the current folder. Raises BadInput."""
    from misstep.spec import load_experiment

    experiment = load_experiment(file, note=_note)
    uri = absolute_uri(storage or experiment.spec.storage.uri)
    place = experiment.spec.storage.model_copy(update={"uri": uri})
    return experiment.model_copy(update={"spec": experiment.spec.model_copy(update={"storage": place})})


def _note(text: str) -> None:
    sys.stderr.write(f"note: {printable(text)}\n")


def absolute_uri(uri: str) -> str:
    """Return a ``file://`` URI as an absolute one, relative to the current folder."""
    if not uri.startswith("file://"):
        return uri
    return Path(unquote(uri.removeprefix("file://"))).expanduser().resolve().as_uri()


def make_plan(experiment: Experiment, data: Sequence[str] | None = None, models: Sequence[str] | None = None) -> Plan:
    """Find the data and models of an Experiment, and return its plan. Raises BadInput."""
    return _planned(experiment, data, models)[1]


def make_costed_plan(
    experiment: Experiment, data: Sequence[str] | None = None, models: Sequence[str] | None = None
) -> tuple[Plan, PlanCost]:
    """Find the data and models of an Experiment, and return its plan and what it will cost. Raises BadInput."""
    from misstep.cost import plan_cost
    from misstep.sources import architecture

    externals, plan = _planned(experiment, data, models)
    teacher, place = externals.get("model_teacher"), plan.storage
    return plan, plan_cost(
        plan,
        architecture(externals["model"], place),
        experiment.spec.assumptions,
        None if teacher is None else architecture(teacher, place),
    )


def _planned(
    experiment: Experiment, data: Sequence[str] | None, models: Sequence[str] | None
) -> tuple[dict[str, External], Plan]:
    from misstep.plan.planner import plan
    from misstep.sources import resolve

    externals = resolve(experiment, named_folders("--data", data), named_folders("--model", models))
    return externals, plan(experiment, externals)


def store_of(plan: Plan) -> Store:
    """Open the store of a plan's artifacts; commands do not wait long for a server that does not answer."""
    from misstep.store.open import open_store

    return open_store(plan.storage, patient=False)


def workdir_for(name: str, work: Path | None) -> Workdir:
    """Return the folder of an experiment on this machine; it need not exist."""
    from misstep.runner.workdir import Workdir

    return Workdir(work) if work else Workdir.of(name)


def find_run(which: str, work: Path | None) -> tuple[Workdir, Plan]:
    """Return the folder and the plan of an experiment that ran here, by its YAML or name. Raises BadInput."""
    from misstep.runner.workdir import ROOT

    name = load(Path(which)).metadata.name if Path(which).suffix in _YAML or Path(which).is_file() else which
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


def storage_from(
    uri: str | None, endpoint: str | None, region: str | None, path_style: bool, ca_bundle: str | None
) -> Storage:
    """Return the storage that command-line options describe."""
    from misstep.store.description import Storage

    return Storage(
        uri=absolute_uri(uri or DEFAULT_STORE),
        endpoint=endpoint,
        region=region,
        path_style=path_style,
        ca_bundle=ca_bundle,
    )
