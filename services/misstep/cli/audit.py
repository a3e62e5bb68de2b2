"""``misstep audit``: pages on which a researcher checks by eye what the pipeline decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from misstep.audit.only import Only
from misstep.cli.opened import Opened, open_experiment
from misstep.cli.options import CaBundleOption, EndpointOption, NamespaceOption, WhichArgument, WorkOption
from misstep.errors import BadInput
from misstep.text import did_you_mean

if TYPE_CHECKING:
    from misstep.audit.tables import Report, Tables
    from misstep.plan.frozen import FrozenStage
    from misstep.plan.kinds import StageKind
    from misstep.store.base import Store

audit = typer.Typer(help="Write pages to check by eye what was decided: pits, and verdicts.", no_args_is_help=True)

CountOption = Annotated[int, typer.Option(min=1, metavar="N", help="How many solutions to show.")]
ProblemOption = Annotated[
    list[str] | None, typer.Option("--problem", metavar="ID", help="Only of this problem. May be repeated.")
]
StageOption = Annotated[
    str | None,
    typer.Option("--stage", metavar="STAGE", help="Only of this stage.", show_default="all of the experiment"),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Page to write.", show_default="in the folder of --work")
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(audit, name="audit", rich_help_panel="Look")


@audit.command()
def credit(
    which: WhichArgument,
    count: CountOption = 30,
    only: Annotated[
        Only | None,
        typer.Option(
            help="Only wrong solutions with a pit, without one, with one less certain than the search wanted, or with "
            "one that is not the true first error."
        ),
    ] = None,
    problem: ProblemOption = None,
    stage: StageOption = None,
    out: OutOption = None,
    browser: OpenOption = False,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
    endpoint: EndpointOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Write a page of wrong solutions with their steps, their pits, and the rollouts that decided.

    The page is one file, without scripts.
    It shows a sample, chosen by a hash: the same command shows the same solutions.
    To see first where credit is most likely wrong, use --only uncertain, or --only differs.

    With --namespace, the store is read with your own keys, as `misstep report` does.

    [dim]misstep audit credit quickstart --open[/dim]

    [dim]misstep audit credit quickstart --only uncertain --count 10[/dim]

    [dim]misstep audit credit quickstart --stage credit-d125-s0 --problem PROBLEM_ID[/dim]

    [dim]misstep audit credit quickstart --namespace research --endpoint https://s3.example.com[/dim]
    """
    from misstep.plan.extras import need

    need("misstep audit", "evaluation")
    from misstep.audit.credit_read import Wanted, read_credit
    from misstep.audit.page import credit_page
    from misstep.plan.kinds import StageKind

    opened = open_experiment("misstep audit credit", which, work, namespace, endpoint, ca_bundle)
    none = "It has no credit stage: no arm learns from pairs that need credit."
    wanted = Wanted(count, only, frozenset(problem or ()))
    with _finished(opened, StageKind.CREDIT, stage, none) as (tables, stages, unfinished):
        found = read_credit(tables, stages, wanted)
    if not any(one.wrong or one.lucky for one in found):
        outcomes = sorted({str(one.summary.get("outcome", "")) for one in found})
        raise _nothing(only, problem, f"Its credit stages have no solution to show: {'; '.join(outcomes)}.")
    page = credit_page(opened.plan.experiment, found, wanted, unfinished)
    _write(page, out or opened.workdir.root / "audit-credit.html", unfinished, browser)


@audit.command()
def verdicts(
    which: WhichArgument,
    count: CountOption = 30,
    problem: ProblemOption = None,
    stage: StageOption = None,
    out: OutOption = None,
    browser: OpenOption = False,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
    endpoint: EndpointOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Write a page of samples with the answer that was read in each, the verdict, and the rule that decided.

    Samples of all verify stages are shown, those of test problems too.
    Each verdict and each rule has its share of the page, however rare it is.
    The choice is made by a hash: the same command shows the same samples.

    [dim]misstep audit verdicts quickstart --open[/dim]

    [dim]misstep audit verdicts quickstart --stage verify-d125-s0 --count 100[/dim]
    """
    from misstep.plan.extras import need

    need("misstep audit", "evaluation")
    from misstep.audit.page import verdicts_page
    from misstep.audit.verdicts_read import read_verdicts
    from misstep.plan.kinds import StageKind

    opened = open_experiment("misstep audit verdicts", which, work, namespace, endpoint, ca_bundle)
    with _finished(opened, StageKind.VERIFY, stage, "It has no verify stage.") as (tables, stages, unfinished):
        groups = read_verdicts(tables, stages, count, frozenset(problem or ()))
    if not groups:
        raise _nothing(None, problem, "Its verify stages have no samples.")
    page = verdicts_page(opened.plan.experiment, groups, len(stages), unfinished)
    _write(page, out or opened.workdir.root / "audit-verdicts.html", unfinished, browser)


@contextmanager
def _finished(
    opened: Opened, kind: StageKind, only: str | None, none: str
) -> Iterator[tuple[Tables, list[FrozenStage], list[str]]]:
    """Open the finished stages of one kind; the last list names those that are not finished.

    Raises:
        BadInput: there is no such stage, none is finished, or an earlier version of Misstep made one.
    """
    import tempfile

    from misstep.artifacts.reader import Reader
    from misstep.audit.tables import Tables, of_this_version

    stages = _stages(opened, kind, only, none)
    with opened.store() as store, tempfile.TemporaryDirectory(prefix="misstep-audit-") as folder:
        done = _committed(store, stages)
        unfinished = [stage.name for stage in stages if stage not in done]
        if not done:
            which = f"{len(stages)} {kind.value} stages are" if len(stages) > 1 else f"stage {stages[0].name} is"
            fix = f"Its {which} not finished. Go on with `misstep run`; `{opened.status_command}` shows how far it is."
            if opened.namespace is not None:
                fix = f"Its {which} not finished: `{opened.status_command}` shows how far it is, and why it waits."
            raise BadInput("experiment", opened.plan.experiment, fix)
        for stage in done:
            if not of_this_version(stage):
                fix = "Another version of Misstep computed it, with other columns. `misstep run` computes it again."
                raise BadInput("stage", stage.name, fix)
        with _progress() as report:
            yield Tables(Reader(store, Path(folder)), report), done, unfinished


def _stages(opened: Opened, kind: StageKind, only: str | None, none: str) -> list[FrozenStage]:
    stages = [stage for stage in opened.plan.stages if stage.kind is kind]
    if not stages:
        raise BadInput("experiment", opened.plan.experiment, none)
    if only is None:
        return stages
    names = [stage.name for stage in stages]
    if only not in names:
        raise BadInput("--stage", only, did_you_mean(only, names, f"Its {kind.value} stages: {', '.join(names)}."))
    return [stage for stage in stages if stage.name == only]


def _committed(store: Store, stages: Sequence[FrozenStage]) -> list[FrozenStage]:
    """Return the stages that are finished. Raises Foreign where a result is another stage's."""
    from misstep.artifacts.watch import StoreWatch

    watch = StoreWatch(store)
    watch.refuse_foreign(stages)
    done = watch.committed_among([stage.key for stage in stages])
    return [stage for stage in stages if stage.key in done]


@contextmanager
def _progress() -> Iterator[Report]:
    """Show on a terminal what is being read."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from misstep.cli.terminal import console

    out = console(stderr=True)
    columns = (TextColumn("reading {task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bars:
        task = bars.add_task("", total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)


def _nothing(only: Only | None, problems: Sequence[str] | None, otherwise: str) -> BadInput:
    """Return the error that says why nothing is there to show."""
    if problems:
        fix = "No solution of it is there. Name problems as `misstep audit` shows them, or leave out --problem."
        if only is not None:
            fix = f"No wrong solution of it is one {only.words}. Leave out --only or --problem."
        return BadInput("--problem", ", ".join(problems), fix)
    if only is not None:
        return BadInput(
            "--only", only.value, f"There is no wrong solution {only.words}. Leave out --only to see others."
        )
    return BadInput("experiment", "nothing to show", otherwise)


def _write(page: str, path: Path, unfinished: Sequence[str], browser: bool) -> None:
    """Write a page, and say where it is."""
    from rich.text import Text

    from misstep.audit.page import some_of
    from misstep.cli.terminal import console
    from misstep.store.disk import disk_errors

    with disk_errors("--out", str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    if unfinished:
        console(stderr=True).print(f"not finished, and left out: {some_of(unfinished)}", soft_wrap=True)
    console().print(Text.assemble("Page: ", (str(path), f"link {path.resolve().as_uri()}")), soft_wrap=True)
    if browser:
        typer.launch(str(path))
