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
    make_costed_plan,
    plain_table,
    store_of,
)
from misstep.cli.models import check_models


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
    stages: Annotated[bool, typer.Option("--stages", help="A line for each stage, with its key.")] = False,
    explain_cost: Annotated[
        bool, typer.Option("--explain-cost", help="Show the arithmetic: what is expected, rates, memory term by term.")
    ] = False,
) -> None:
    """Show the stages that a run would consist of, what they will cost, and what is committed already.

    The models are checked first (`misstep inspect-model` shows what is seen). One that cannot be used, and what cannot
    fit the GPUs that it is given, is refused.

    [dim]misstep plan examples/gsm8k-qwen2.5-math-1.5b.yaml --explain-cost[/dim]
    """
    from misstep.artifacts.manifest import committed_keys
    from misstep.cost import render, show
    from misstep.cost.fit import refuse_misfits

    experiment = load(file, storage)
    found, cost = make_costed_plan(experiment, data, model)
    refuse_misfits(cost)
    store = store_of(found)
    unchecked = check_models(found, experiment, store)
    committed = committed_keys(store, [stage.key for stage in found.stages])
    match output:
        case PlanFormat.JSON:
            print(render.as_json(found, cost, committed))
        case PlanFormat.MERMAID:
            print(render.as_mermaid(found, committed), end="")
        case PlanFormat.TABLE:
            header, rows, keep = show.GROUP_HEADER, show.group_rows(found, cost, committed), 1
            if stages:
                header, rows, keep = render.STAGE_HEADER, render.stage_rows(found, cost, committed), 2
            table = plain_table(*header, keep=keep)
            for row in rows:
                table.add_row(*row)
            out = console()
            out.print(table)
            lines = [
                *show.total_lines(found, cost, committed),
                "",
                *show.notes(cost),
                *map("note: {}".format, unchecked),
            ]
            if explain_cost:
                lines += ["", *show.explanation(found, cost)]
            out.print("\n" + "\n".join(lines), soft_wrap=True)


def explain(
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="Dotted path of a field.", show_default=False)] = "",
) -> None:
    """Describe a field of the Experiment: its type, its default, and what it means.

    [dim]misstep explain spec.credit.rollouts[/dim]
    """
    from misstep.spec.explain import explain as describe

    print(describe(path))
