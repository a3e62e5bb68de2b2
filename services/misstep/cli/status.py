"""``misstep status`` and ``misstep logs``: what runs or ran here, or in a cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from misstep.cli.cluster import InCluster
from misstep.cli.experiments import find_run, store_of
from misstep.cli.options import NamespaceOption, WhichArgument, WorkOption
from misstep.errors import BadInput
from misstep.text import did_you_mean

if TYPE_CHECKING:
    from misstep.runner.status import Row

_FOLLOW_SECONDS = 0.3


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, logs):
        app.command(rich_help_panel="Look")(command)


def status(
    which: WhichArgument,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show which stages are done, running (and how far), failed (and why) or waiting.

    [dim]misstep status quickstart[/dim]

    [dim]misstep status quickstart --namespace research[/dim]
    """
    from misstep.artifacts.watch import StoreWatch
    from misstep.runner.status import stage_rows

    if namespace is not None:
        there = InCluster.find(namespace, which)
        _show_rows(there.name, there.rows(), there.standing, as_json=as_json)
        return
    workdir, plan = find_run(which, work)
    found = stage_rows(plan, StoreWatch(store_of(plan)), workdir.read_run(), now=time.time())
    _show_rows(plan.experiment, found, f"logs and report in {workdir.root}", as_json=as_json)


def _show_rows(experiment: str, found: list[Row], last: str, *, as_json: bool) -> None:
    from rich.text import Text

    from misstep.cli.terminal import console, plain_table

    if as_json:
        print(json.dumps({"experiment": experiment, "stages": [row.as_dict() for row in found]}, indent=2))
        return
    table = plain_table("stage", "state", "took", "", keep=3)
    colours = {"done": "green", "running": "cyan", "failed": "red"}
    for row in found:
        table.add_row(row.stage, Text(row.state, style=colours.get(row.state, "")), row.took, row.detail)
    out = console()
    out.print(table)
    for row in found:
        if row.warning:
            out.print(Text.assemble("\n", ("warning", "yellow"), f": {row.warning}"))
    done = sum(row.state == "done" for row in found)
    out.print(f"\n{experiment}: {done} of {len(found)} stages done; {last}")


def logs(
    which: WhichArgument,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="Name of the stage, as status shows it.")],
    shard: Annotated[int | None, typer.Option(min=0, help="Only this shard.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines while the run goes on.")] = False,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Print the logs of a stage's processes.

    [dim]misstep logs quickstart sft-d250-s0 --follow[/dim]
    """
    from misstep.cli.terminal import say

    if namespace is not None:
        code = InCluster.find(namespace, which).stream_logs(stage, shard=shard, follow=follow)
        raise typer.Exit(code)
    workdir, plan = find_run(which, work)
    names = [one.name for one in plan.stages]
    if stage not in names:
        raise BadInput("STAGE", stage, did_you_mean(stage, names, "`misstep status` lists the stages."))
    paths = [path for path in workdir.logs(stage) if shard is None or path == workdir.log(stage, shard)]
    if not paths:
        raise BadInput("STAGE", stage, f"It has not run here yet: it has no log in {workdir.root / 'logs'}.")
    for path in paths:
        if len(paths) > 1:
            print(f"==> {path.name} <==")
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in _following(file, workdir.read_run) if follow and path == paths[-1] else [file.read()]:
                say(text, end="")


def _following(file: IO[str], read_run: Callable[[], dict[str, Any] | None]) -> Iterator[str]:
    """Yield the text of a file and what is appended to it, until the run that writes it has ended."""
    from misstep.runner.status import is_running

    while True:
        ended = not is_running(read_run())
        text = file.read()
        if text:
            yield text
        elif ended:
            return
        time.sleep(_FOLLOW_SECONDS)
