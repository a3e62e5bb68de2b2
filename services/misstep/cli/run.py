"""``misstep run``: run an Experiment on this machine, from problems to the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from misstep.cli.experiments import load, make_costed_plan, store_of, workdir_for
from misstep.cli.models import check_models
from misstep.cli.options import (
    DataOption,
    FileArgument,
    ModelOption,
    ParallelOption,
    QuietOption,
    StorageOption,
    WorkOption,
)
from misstep.cli.report import show_report
from misstep.cli.running import RunOutput, carry_out, check_installed, check_secrets, exit_unless_done
from misstep.errors import BadInput
from misstep.text import did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from misstep.plan.planner import Plan
    from misstep.runner.schedule import Graph
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
        str | None,
        typer.Option(
            "--only", metavar="STAGE", help="Run only this stage, and the stages before it that have no result yet."
        ),
    ] = None,
    parallel: ParallelOption = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="After a failure, run all stages that do not need the failed one.")
    ] = False,
    retries: Annotated[int, typer.Option(min=0, help="How often a crashed stage is started again.")] = 1,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="First check every byte of finished stages, and compute again what is damaged."),
    ] = False,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Start each stage as a fresh process, without the fork server.")
    ] = False,
    quiet: QuietOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")] = False,
) -> None:
    """Run an experiment on this machine. Stages that are done already are not run again.

    Stages run as processes, as many at once as cores and memory allow.
    Ctrl-C stops the run. Run the same command again to continue it.

    [dim]misstep run quickstart.yaml[/dim]

    [dim]misstep run examples/gsm8k-smollm2.yaml --data gsm8k=DIR --model smollm2=DIR[/dim]
    """
    from misstep.cli.terminal import console
    from misstep.cost.fit import refuse_misfits
    from misstep.runner.machine import capacity
    from misstep.runner.run import Settings

    experiment = load(file, storage)
    check_secrets(experiment.spec.secrets)
    plan, cost = make_costed_plan(experiment, data, model)
    refuse_misfits(cost)
    graph = _graph(plan, only)
    store = store_of(plan)
    check_installed("misstep run", plan, store, graph)
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
    outcome = carry_out(plan, graph, store, workdir, settings, RunOutput(out, file, quiet=quiet, as_json=as_json))
    if outcome.left == 0 and only is None:
        show_report(store, plan, workdir, out, as_json=as_json)
    exit_unless_done(outcome, quiet=quiet)


def _graph(plan: Plan, only: str | None) -> Graph:
    from misstep.runner.schedule import graph_of

    names = [stage.name for stage in plan.stages]
    if only is not None and only not in names:
        hint = did_you_mean(only, names, "`misstep plan FILE` lists the stages.")
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
