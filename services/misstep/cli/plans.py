"""``misstep validate``, ``plan`` and ``explain``: everything before anything runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from misstep.cli.common import (
    DataOption,
    FileArgument,
    ModelOption,
    StorageOption,
    console,
    load,
    make_plan,
    plain_table,
    store_of,
)


class PlanFormat(StrEnum):
    """How a plan is written."""

    TABLE = "table"
    JSON = "json"
    MERMAID = "mermaid"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (validate, plan, explain):
        app.command(rich_help_panel="Prepare")(command)


def validate(file: FileArgument) -> None:
    """Check an Experiment YAML, every field of it, without looking at data or models.

    [dim]misstep validate my-experiment.yaml[/dim]
    """
    experiment = load(file)
    spec = experiment.spec
    counts = f"{len(spec.arms)} arms, {len(spec.problems.sizes)} sizes, {len(spec.seeds)} seeds"
    print(f"{file}: {experiment.metadata.name} is a valid Experiment ({counts})")


def plan(
    file: FileArgument,
    data: DataOption = None,
    model: ModelOption = None,
    storage: StorageOption = None,
    output: Annotated[PlanFormat, typer.Option("--output", "-o", help="How to write it.")] = PlanFormat.TABLE,
) -> None:
    """Show the stages that a run would consist of: keys, shards, tokens, and what is committed already.

    [dim]misstep plan examples/quickstart.yaml -o mermaid[/dim]
    """
    from misstep.artifacts.manifest import committed_keys
    from misstep.plan import render

    found = make_plan(file, data, model, storage)
    committed = committed_keys(store_of(found), [stage.key for stage in found.stages])
    match output:
        case PlanFormat.JSON:
            print(render.as_json(found, committed))
        case PlanFormat.MERMAID:
            print(render.as_mermaid(found, committed), end="")
        case PlanFormat.TABLE:
            table = plain_table(*render.TABLE_HEADER, keep=2)
            for row in render.table_rows(found, committed):
                table.add_row(*row)
            out = console()
            out.print(table)
            done = sum(stage.key in committed for stage in found.stages)
            out.print(f"\n{len(found.stages)} stages, {done} done, in {found.report.storage.uri}", soft_wrap=True)


def explain(
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="Dotted path of a field.", show_default=False)] = "",
) -> None:
    """Describe a field of the Experiment: its type, its default, and what it means.

    [dim]misstep explain spec.credit.rollouts[/dim]
    """
    from misstep.spec.explain import explain as describe

    print(describe(path))
