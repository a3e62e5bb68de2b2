"""``misstep compare``: several Experiments in one table and on one page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from misstep.cli.experiments import storage_from
from misstep.cli.opened import Opened, open_experiment
from misstep.cli.options import CaBundleOption, EndpointOption, NamespaceOption, PathStyleOption, RegionOption
from misstep.errors import BadInput

if TYPE_CHECKING:
    from rich.table import Table

    from misstep.comparison.compared import Compared, Difference, Row

_COMMAND = "misstep compare"
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})=(.+)")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Look")(compare)


def compare(
    which: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]WHAT...",
            help="Two to six of: an Experiment YAML, the name of an experiment, its folder, a results.json, or a store "
            "(file://DIR, s3://BUCKET/PREFIX; with #KEY where it holds several reports). NAME= gives it another name.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Page to write.")] = Path("comparison.html"),
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    namespace: NamespaceOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    path_style: PathStyleOption = False,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Compare finished experiments: settings that differ, curves on one picture, and worth side by side.

    It says what makes a comparison unfair: other test problems, another prompt, another model.
    The page is one file, without scripts.

    With --namespace, names are those of Experiments there, and their store is read with your own keys.

    [dim]misstep compare quickstart my-quickstart --open[/dim]

    [dim]misstep compare before=old/results.json after=quickstart.yaml --out compared.html[/dim]

    [dim]misstep compare s3://bucket/store#1f3a s3://bucket/store#9c0b --json[/dim]
    """
    from misstep.plan.extras import need

    need(_COMMAND, "evaluation")
    from misstep.comparison.compared import MOST
    from misstep.comparison.page import comparison_page
    from misstep.store.disk import disk_errors

    if not 2 <= len(which) <= MOST:
        raise BadInput("WHAT", ", ".join(which), f"Name two to {MOST} experiments: these are {len(which)}.")
    given = {"--endpoint": endpoint, "--region": region, "--path-style": path_style, "--ca-bundle": ca_bundle}
    _check_options(which, namespace, given)
    opener = _Opener(namespace, endpoint, region, path_style, ca_bundle)
    compared = [opener.open(one) for one in which]
    _check_apart(which, compared)
    page = comparison_page(compared)
    with disk_errors("--out", str(out)):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    if as_json:
        from misstep.comparison.data import as_data

        print(json.dumps({**as_data(compared), "page": str(out)}, indent=1, ensure_ascii=False))
    else:
        _show(compared, out)
    if browser:
        typer.launch(str(out))


@dataclass(frozen=True)
class _Opener:
    """Finds what arguments name."""

    namespace: str | None
    endpoint: str | None
    region: str | None
    path_style: bool
    ca_bundle: str | None

    def open(self, argument: str) -> Compared:
        """Read one argument. Raises BadInput, which names it."""
        from misstep.comparison.read import read_file
        from misstep.evaluation.report_files import RESULTS

        match = None if Path(argument).exists() else _NAMED.fullmatch(argument)
        name, what = match.groups() if match else (None, argument)
        if "://" in what:
            return self._of_store(what, name)
        path = Path(what)
        if path.suffix == ".json" and path.is_file():
            return read_file(path, name or (path.parent.resolve().name if path.name == RESULTS else path.stem))
        if (path / "plan.json").is_file():
            return self._of_plan(open_experiment(_COMMAND, path.resolve().name, path, None, None, None), name)
        if (path / RESULTS).is_file():
            return read_file(path / RESULTS, name or path.resolve().name)
        folder, mark, key = what.partition("#")
        if Path(folder).is_dir():
            return self._of_store(f"{Path(folder).resolve().as_uri()}{mark}{key}", name)
        if self.namespace is None:
            return self._of_plan(open_experiment(_COMMAND, what, None, None, None, None), name)
        return self._of_plan(open_experiment(_COMMAND, what, None, self.namespace, self.endpoint, self.ca_bundle), name)

    def _of_plan(self, opened: Opened, name: str | None) -> Compared:
        from misstep.artifacts.manifest import NotCommittedError
        from misstep.comparison.read import read_report
        from misstep.plan.kinds import StageKind

        plan = opened.plan
        if plan.report.kind is not StageKind.REPORT:
            fix = "It is a search, which has no report: name Experiments that `misstep run` ran."
            raise BadInput("WHAT", plan.experiment, fix)
        try:
            with opened.store() as store:
                return read_report(store, plan.report.key, name or plan.experiment, plan)
        except NotCommittedError as error:
            fix = f"It has no report yet: `{opened.status_command}` shows what is missing."
            raise BadInput("WHAT", plan.experiment, fix) from error

    def _of_store(self, uri: str, name: str | None) -> Compared:
        from misstep.comparison.read import read_report, report_key
        from misstep.store.open import open_store

        base, _, beginning = uri.partition("#")
        place = storage_from(base, self.endpoint, self.region, self.path_style, self.ca_bundle)
        store = open_store(place, patient=False)
        key = report_key(store, base, beginning)
        shown = f"{base.rstrip('/').rpartition('/')[2]}-{key.removeprefix('report-')[:6]}"
        return read_report(store, key, name or shown)


def _check_options(which: Sequence[str], namespace: str | None, options: Mapping[str, object]) -> None:
    """Refuse options of a remote store where nothing is read from one."""
    if namespace is None and not any("s3://" in one for one in which):
        for option, value in options.items():
            if value:
                raise BadInput(option, value, "Use it with --namespace, or with a store: s3://BUCKET/PREFIX.")


def _check_apart(which: Sequence[str], compared: Sequence[Compared]) -> None:
    """Refuse what cannot be shown apart."""
    for index, one in enumerate(compared):
        for other, earlier in zip(which, compared[:index], strict=False):
            if one.report and one.report == earlier.report:
                fix = f"It has the same report as {other}, {one.report}: name each experiment once."
                raise BadInput("WHAT", which[index], fix)
            if one.name == earlier.name:
                fix = f"{other} is called {one.name} too. Give one of them another name: NAME={which[index]}."
                raise BadInput("WHAT", which[index], fix)


def _show(compared: Sequence[Compared], page: Path) -> None:
    """Print the tables, the warnings, and where the page is."""
    from rich.text import Text

    from misstep.cli.terminal import console
    from misstep.comparison.compared import differences, rows_of
    from misstep.comparison.fairness import warnings
    from misstep.evaluation import wording

    out = console()
    different, same = differences(compared)
    if different:
        out.print(_settings(compared, different))
        out.print(f"{wording.counted(same, 'other setting')} {'is' if same == 1 else 'are'} the same\n", style="dim")
    elif all(one.settings is not None for one in compared):
        out.print(f"all {same:,} settings are the same\n")
    out.print(_figures(compared, rows_of(compared)))
    out.print()
    for warning in warnings(compared, different):
        out.print(Text.assemble(("warning", "yellow"), f": {warning}"))
    out.print("No difference between experiments is tested: the page says what their intervals show.")
    out.print(Text.assemble("Page: ", (str(page), f"link {page.resolve().as_uri()}")), soft_wrap=True)


def _settings(compared: Sequence[Compared], different: Sequence[Difference]) -> Table:
    from misstep.cli.terminal import plain_table

    table = plain_table("setting", *(one.name for one in compared))
    for one in different:
        table.add_row(one.name, *one.texts)
    return table


def _figures(compared: Sequence[Compared], rows: Sequence[Row]) -> Table:
    """Return the table of accuracies and worth, each with its interval."""
    from misstep.cli.terminal import plain_table
    from misstep.evaluation import wording

    table = plain_table("arm", "problems", *(text for one in compared for text in (one.name, "worth")))
    for row in rows:
        texts = []
        for cell in row.cells:
            texts.append(wording.NONE if cell is None else wording.plus_minus(cell.accuracy))
            worth = "" if cell is None or row.method == "sft" else wording.factor_range(cell.worth.interpolated)
            texts.append(f"{wording.factor(cell.worth.interpolated)} ({worth})" if cell and worth else wording.NONE)
        table.add_row(row.arm, f"{row.size:,}", *texts)
    return table
