"""``misstep status`` and ``misstep logs``: what runs or ran here, or in a cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from misstep.cli.cluster import InCluster
from misstep.cli.options import NamespaceOption, WhichArgument, WorkOption

if TYPE_CHECKING:
    from misstep.api.status import Status

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
    from misstep.api.run import Run
    from misstep.api.status import Status

    if namespace is not None:
        there = InCluster.find(namespace, which)
        _show(Status(there.name, tuple(there.rows())), there.standing, as_json=as_json)
        return
    run = Run.find(which, work=work)
    _show(run.status(), f"logs and report in {run.workdir.root}", as_json=as_json)


def _show(found: Status, last: str, *, as_json: bool) -> None:
    from rich.text import Text

    from misstep.cli.terminal import console, plain_table

    if as_json:
        print(json.dumps({"experiment": found.experiment, "stages": [row.as_dict() for row in found.rows]}, indent=2))
        return
    table = plain_table("stage", "state", "took", "", keep=3)
    colours = {"done": "green", "running": "cyan", "failed": "red"}
    for row in found.rows:
        table.add_row(row.stage, Text(row.state, style=colours.get(row.state, "")), row.took, row.detail)
    out = console()
    out.print(table)
    for row in found.rows:
        if row.warning:
            out.print(Text.assemble("\n", ("warning", "yellow"), f": {row.warning}"))
    out.print(f"\n{found}; {last}")


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
    from misstep.api.run import Run
    from misstep.cli.terminal import say

    if namespace is not None:
        code = InCluster.find(namespace, which).stream_logs(stage, shard=shard, follow=follow)
        raise typer.Exit(code)
    run = Run.find(which, work=work)
    paths = run.logs(stage, shard)
    for path in paths:
        if len(paths) > 1:
            print(f"==> {path.name} <==")
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in _following(file, run.workdir.read_run) if follow and path == paths[-1] else [file.read()]:
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
