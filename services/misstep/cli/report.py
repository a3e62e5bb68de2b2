"""``misstep report``: the report of a finished experiment, and the end of ``misstep run``, which shows it too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from misstep.cli.opened import open_experiment
from misstep.cli.options import CaBundleOption, EndpointOption, NamespaceOption, WhichArgument, WorkOption
from misstep.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from misstep.api.run import Run
    from misstep.evaluation.results import Results
    from misstep.runner.workdir import Workdir


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Look")(report)


def report(
    which: WhichArgument,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
    endpoint: EndpointOption = None,
    ca_bundle: CaBundleOption = None,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Print the results of a finished experiment, and where its report is.

    With --namespace, the store is read with your own keys: at AWS, or at the server that --endpoint or AWS_ENDPOINT_URL
    names.

    [dim]misstep report quickstart --open[/dim]

    [dim]misstep report quickstart --namespace research --endpoint https://s3.example.com[/dim]
    """
    from misstep.api.run import Run
    from misstep.cli.terminal import console
    from misstep.plan.kinds import StageKind

    opened = open_experiment("misstep report", which, work, namespace, endpoint, ca_bundle)
    workdir, plan = opened.workdir, opened.plan
    if plan.report.kind is not StageKind.REPORT:
        _show_search(workdir, plan.experiment)
        return
    with opened.store() as store:
        show_report(Run(plan, workdir, store), console())
    if browser:
        typer.launch(str(workdir.report))


def _show_search(workdir: Workdir, name: str) -> None:
    from misstep.cli.terminal import console
    from misstep.cli.tune import RESULT, show_search
    from misstep.search.result import SearchResult

    path = workdir.root / RESULT
    if not path.exists():
        raise BadInput("experiment", name, "The search has no result yet: `misstep status` shows what is missing.")
    show_search(SearchResult.model_validate_json(path.read_bytes()), console())


def show_report(run: Run, out: Console, *, as_json: bool = False) -> None:
    """Copy the report's files to the run's folder, and print the results and where the files are."""
    from rich.text import Text

    from misstep.evaluation.results import read_results

    files = run.report()
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


def result_table(results: Results) -> Table:
    """Return the table with the result of each arm at each size."""
    from rich.table import Table

    from misstep.evaluation.results_table import summary_rows

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm")
    table.add_column("problems", justify="right")
    table.add_column("pass@1, %", justify="right")
    table.add_column("error ratio", justify="right")
    table.add_column("worth x SFT data, by interpolation", justify="right")
    table.add_column("by fit", justify="right")
    for row in summary_rows(results):
        table.add_row(row.arm, row.size, row.accuracy, row.error_ratio, row.interpolated, row.fitted)
    return table
