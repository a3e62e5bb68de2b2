"""``misstep run``: carry an Experiment from problems to a report on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from misstep.cli.common import (
    DataOption,
    FileArgument,
    ModelOption,
    StorageOption,
    WorkOption,
    console,
    load,
    make_costed_plan,
    store_of,
    workdir_for,
)
from misstep.cli.models import check_models
from misstep.cli.running import ParallelOption, QuietOption, Told, carry_out, check_secrets, leave
from misstep.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from misstep.plan.planner import Plan
    from misstep.runner.schedule import Graph
    from misstep.runner.workdir import Workdir
    from misstep.store.base import Store


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", rich_help_panel="Run")(run)


def run(
    file: FileArgument,
    data: DataOption = None,
    model: ModelOption = None,
    storage: StorageOption = None,
    work: WorkOption = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="STAGE", help="Run this stage and what it still lacks, no more.")
    ] = None,
    parallel: ParallelOption = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="After a failure, run all that does not need the failed stage.")
    ] = False,
    retries: Annotated[int, typer.Option(min=0, help="Times that a crashed stage is tried again.")] = 1,
    repair: Annotated[
        bool, typer.Option("--repair", help="Check every committed byte first, and compute again what is damaged.")
    ] = False,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Start each stage as a fresh process, without the fork server.")
    ] = False,
    quiet: QuietOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")] = False,
) -> None:
    """Run an experiment on this machine; what is there already is not done again.

    Stages run as processes, as many at once as cores and memory allow. Ctrl-C stops; the same command goes on.

    [dim]misstep run examples/quickstart.yaml[/dim]

    [dim]misstep run examples/gsm8k-smollm2.yaml --data gsm8k=DIR --model smollm2=DIR[/dim]
    """
    from misstep.cost.fit import refuse_misfits
    from misstep.runner.machine import capacity
    from misstep.runner.settings import Settings

    experiment = load(file, storage)
    check_secrets(experiment.spec.secrets)
    plan, cost = make_costed_plan(experiment, data, model)
    refuse_misfits(cost)
    graph = _graph(plan, only)
    store = store_of(plan)
    store.check(write=True)
    out = console()
    for note in check_models(plan, experiment, store):
        if not (quiet or as_json):
            out.print(f"note: {note}", soft_wrap=True)
    workdir = workdir_for(plan.experiment, work)
    workdir.create()
    workdir.write_plan(plan)
    if repair:
        _repair(store, plan, out)
    settings = Settings(capacity=capacity(parallel), retries=retries, keep_going=keep_going, isolate=isolate)
    outcome = carry_out(plan, graph, store, workdir, settings, Told(out, file, quiet=quiet, as_json=as_json))
    if outcome.left == 0 and only is None:
        show_report(store, plan, workdir, out, as_json=as_json)
    leave(outcome, quiet=quiet)


def _graph(plan: Plan, only: str | None) -> Graph:
    import difflib

    from misstep.runner.costs import graph_of

    names = [stage.name for stage in plan.stages]
    if only is not None and only not in names:
        close = difflib.get_close_matches(only, names, n=1, cutoff=0.4)
        hint = f"Did you mean {close[0]}?" if close else "`misstep plan FILE` lists the stages."
        raise BadInput("--only", only, f"The plan has no such stage. {hint}")
    return graph_of(plan, None if only is None else [only])


def _repair(store: Store, plan: Plan, out: Console) -> None:
    from misstep.artifacts.repair import repair

    whole = True
    for stage in plan.stages:
        found = repair(store, stage.key)
        for path, problem in found.damaged.items():
            whole = False
            out.print(f"removed {path}: {problem}", soft_wrap=True)
        if found.blocks:
            out.print(f"{stage.name}: {len(found.blocks)} block(s) will be computed again")
    if whole:
        out.print("repair: no damage found")


def show_report(store: Store, plan: Plan, workdir: Workdir, out: Console, *, as_json: bool = False) -> None:
    """Bring the report's files to the working folder and print the result table and where they are."""
    from rich.text import Text

    from misstep.evaluation.results import read_results
    from misstep.runner.report import fetch_report, result_table

    files = fetch_report(store, plan.report, workdir.root)
    if as_json:
        print(json.dumps({"what": "report", "files": {name: str(path) for name, path in files.items()}}))
        return
    results = read_results(files["results.json"].read_text(encoding="utf-8"))
    out.print()
    if results.headline:
        out.print(f"{results.headline}\n", style="bold")
    out.print(result_table(results))
    out.print(f"\n{results.conclusion}\n")
    path = files["report.html"]
    out.print(Text.assemble("Report:  ", (str(path), f"link {path.resolve().as_uri()}")), soft_wrap=True)
    out.print(f"Figures: {files['results.json']}, {files['results.csv']}", soft_wrap=True)
