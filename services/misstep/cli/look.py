"""``misstep status``, ``logs`` and ``report``: look at what runs or ran here."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from misstep.cli.cluster import InCluster, NamespaceOption
from misstep.cli.common import WhichArgument, WorkOption, console, find_run, nearest, plain_table, store_of, workdir_for
from misstep.cli.own_store import options_for_fields, own_storage
from misstep.cli.places import CaBundle, Endpoint
from misstep.errors import BadInput

if TYPE_CHECKING:
    from misstep.runner.status import Row
    from misstep.runner.workdir import Workdir

_FOLLOW_SECONDS = 0.3


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, logs, report):
        app.command(rich_help_panel="Look")(command)


def status(
    which: WhichArgument,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show each stage of an experiment: done, running (how far), failed (why), or waiting.

    [dim]misstep status quickstart[/dim]

    [dim]misstep status quickstart --namespace research[/dim]
    """
    from misstep.runner.status import look
    from misstep.runner.watch import StoreWatch

    if namespace is not None:
        there = InCluster.find(namespace, which)
        _show_rows(there.name, there.rows(), there.standing, as_json=as_json)
        return
    workdir, plan = find_run(which, work)
    found = look(plan, StoreWatch(store_of(plan)), workdir.read_run(), now=time.time())
    _show_rows(plan.experiment, found, f"logs and report in {workdir.root}", as_json=as_json)


def _show_rows(experiment: str, found: list[Row], last: str, *, as_json: bool) -> None:
    from rich.text import Text

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
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on while the run is on.")] = False,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Print what a stage's processes logged.

    [dim]misstep logs quickstart sft-d250-s0 --follow[/dim]
    """
    from misstep.cli.terminal import say

    if namespace is not None:
        code = InCluster.find(namespace, which).stream_logs(stage, shard=shard, follow=follow)
        raise typer.Exit(code)
    workdir, plan = find_run(which, work)
    names = [one.name for one in plan.stages]
    if stage not in names:
        raise BadInput("STAGE", stage, nearest(stage, names))
    paths = [path for path in workdir.logs(stage) if shard is None or path == workdir.log(stage, shard)]
    if not paths:
        raise BadInput("STAGE", stage, f"It has not run here yet: there is no log of it in {workdir.root / 'logs'}.")
    for path in paths:
        if len(paths) > 1:
            print(f"==> {path.name} <==")
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in _following(file, workdir.read_run) if follow and path == paths[-1] else [file.read()]:
                say(text, end="")


def report(
    which: WhichArgument,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
    endpoint: Endpoint = None,
    ca_bundle: CaBundle = None,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Print the result of a finished experiment and where its report is.

    With --namespace your own keys read the store: at AWS, or at the server that --endpoint or AWS_ENDPOINT_URL names.

    [dim]misstep report quickstart --open[/dim]

    [dim]misstep report quickstart --namespace research --endpoint https://s3.example.com[/dim]
    """
    from misstep.artifacts.manifest import read_manifest
    from misstep.cli.run import show_report
    from misstep.plan.kinds import StageKind
    from misstep.store.open import open_store

    if namespace is not None:
        there = InCluster.find(namespace, which)
        plan = there.plan()
        workdir = workdir_for(there.name, work)  # not by what the plan says: it is a tenant's ConfigMap
        again = f"misstep report {shlex.quote(there.name)} --namespace {shlex.quote(namespace)}"
        storage = own_storage(plan.storage, endpoint, ca_bundle, again)
    else:
        for option, value in (("--endpoint", endpoint), ("--ca-bundle", ca_bundle)):
            if value is not None:
                raise BadInput(option, value, "It goes with --namespace: what ran here has its store in its own plan.")
        workdir, plan = find_run(which, work)
        storage = plan.storage
    if plan.report.kind is not StageKind.REPORT:
        _show_search(workdir, plan.experiment)
        return
    with nullcontext() if namespace is None else options_for_fields():
        store = open_store(storage, patient=False)
        if read_manifest(store, plan.report.key) is None:
            fix = "It has no report yet: `misstep status` shows what is missing."
            raise BadInput("experiment", plan.experiment, fix)
        show_report(store, plan, workdir, console())
    if browser:
        typer.launch(str(workdir.report))


def _show_search(workdir: Workdir, name: str) -> None:
    from misstep.cli.tune import RESULT, show_search
    from misstep.search.result import SearchResult

    path = workdir.root / RESULT
    if not path.exists():
        raise BadInput("experiment", name, "The search has no result yet: `misstep status` shows what is missing.")
    show_search(SearchResult.model_validate_json(path.read_bytes()), console())


def _following(file: IO[str], read_run: Callable[[], dict[str, Any] | None]) -> Iterator[str]:
    """Yield what is in a file and what is added to it, until the run that writes it has ended."""
    from misstep.runner.status import is_running

    while True:
        ended = not is_running(read_run())
        text = file.read()
        if text:
            yield text
        elif ended:
            return
        time.sleep(_FOLLOW_SECONDS)
