"""What several commands share: options, finding an experiment, its plan, its store, its folder on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote

import typer

from misstep.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from misstep.cost import PlanCost
    from misstep.plan.frozen import External
    from misstep.plan.planner import Plan
    from misstep.runner.workdir import Workdir
    from misstep.spec import Experiment
    from misstep.store.base import Store
    from misstep.store.description import Storage

DEFAULT_STORE = "file://.misstep/store"
_WIDE = 220
_YAML = (".yaml", ".yml")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment YAML.", show_default=False)]
WhichArgument = Annotated[
    str, typer.Argument(metavar="FILE|NAME", help="Experiment YAML, or the name of one that ran here.")
]
DataOption = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=DIR", help="Local folder of the data that the YAML calls NAME. Repeatable."),
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME=DIR", help="Local folder of the model that the YAML calls NAME."),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage", metavar="URI", help="Store to use instead of the YAML's: file://DIR or s3://BUCKET/PREFIX."
    ),
]
WorkOption = Annotated[
    Path | None,
    typer.Option("--work", metavar="DIR", help="Folder for logs and the report.", show_default=".misstep/NAME"),
]


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
    """Load an Experiment, with its storage's folder made absolute from here. Raises BadInput."""
    from misstep.spec import load_experiment

    experiment = load_experiment(file)
    uri = absolute_uri(storage or experiment.spec.storage.uri)
    place = experiment.spec.storage.model_copy(update={"uri": uri})
    return experiment.model_copy(update={"spec": experiment.spec.model_copy(update={"storage": place})})


def absolute_uri(uri: str) -> str:
    """Make a relative ``file://`` URI absolute, from the folder where the command runs."""
    if not uri.startswith("file://"):
        return uri
    return Path(unquote(uri.removeprefix("file://"))).expanduser().resolve().as_uri()


def make_plan(experiment: Experiment, data: Sequence[str] | None = None, models: Sequence[str] | None = None) -> Plan:
    """Find the data and models of an Experiment, and plan it. Raises BadInput."""
    return _planned(experiment, data, models)[1]


def make_costed_plan(
    experiment: Experiment, data: Sequence[str] | None = None, models: Sequence[str] | None = None
) -> tuple[Plan, PlanCost]:
    """Find the data and models of an Experiment, plan it and say what it will cost. Raises BadInput."""
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
    """Open the store that a plan's artifacts live in, for commands: none waits long for a server that is away."""
    from misstep.store.open import open_store

    return open_store(plan.storage, patient=False)


def workdir_for(name: str, work: Path | None) -> Workdir:
    """Return the folder of an experiment on this machine; it need not exist."""
    from misstep.runner.workdir import Workdir

    return Workdir(work) if work else Workdir.of(name)


def find_run(which: str, work: Path | None) -> tuple[Workdir, Plan]:
    """Find what ran here, by the YAML or the experiment's name. Raises BadInput where nothing of it has run."""
    from misstep.runner.workdir import ROOT

    name = load(Path(which)).metadata.name if Path(which).suffix in _YAML or Path(which).is_file() else which
    workdir = workdir_for(name, work)
    plan = workdir.read_plan()
    if plan is not None:
        return workdir, plan
    known = sorted(path.parent.name for path in ROOT.glob("*/run.json"))
    here = f"Here ran: {', '.join(known)}." if known else "No experiment has run here."
    start = f"`misstep run {which if name != which else 'FILE'}` starts it."
    if known and name == which:
        start = "Name one of them, or the YAML."
    cluster = "`misstep status`, `logs` and `report` look into a cluster with --namespace NAMESPACE."
    raise BadInput("experiment", name, f"Nothing of it is in {workdir.root}. {here} {start} {cluster}")


def nearest(stage: str, names: list[str]) -> str:
    """Say what to write in place of a stage that is not there."""
    import difflib

    close = difflib.get_close_matches(stage, names, n=1, cutoff=0.4)
    return f"Did you mean {close[0]}?" if close else "`misstep status` lists the stages."


def storage_from(
    uri: str | None, endpoint: str | None, region: str | None, path_style: bool, ca_bundle: str | None
) -> Storage:
    """Build a storage from command-line options."""
    from misstep.store.description import Storage

    return Storage(
        uri=absolute_uri(uri or DEFAULT_STORE),
        endpoint=endpoint,
        region=region,
        path_style=path_style,
        ca_bundle=ca_bundle,
    )


def console(*, stderr: bool = False) -> Console:
    """A console for results, of which no text acts on a terminal.

    Where no terminal says how wide it is, lines are as long as they need to be.
    """
    from misstep.cli.terminal import SafeConsole

    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDE
    return SafeConsole(width=wide, stderr=stderr)


def plain_table(*columns: str, keep: int = 1) -> Table:
    """A table without lines, whose first ``keep`` columns never break."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index < keep)
    return table


def size_text(size: float) -> str:
    """Write bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
