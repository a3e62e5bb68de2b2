"""``misstep run``: run an Experiment on this machine, from problems to the report."""

from __future__ import annotations

from typing import Annotated

import typer

from misstep.cli.experiments import opened_file
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
from misstep.cli.running import exit_unless_done, shown_on


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

    experiment = opened_file(file, data, model, storage, work)
    out = console()
    with exit_unless_done(quiet=quiet):
        done = experiment.run(
            progress=shown_on(out, quiet=quiet, as_json=as_json),
            only=only,
            parallel=parallel,
            keep_going=keep_going,
            retries=retries,
            repair=repair,
            isolate=isolate,
        )
    if only is None:
        show_report(done, out, as_json=as_json)
