"""``misstep validate``, ``plan``, ``explain`` and ``schema``: what to do before a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from misstep.cli.experiments import opened_file
from misstep.cli.options import DataOption, FileArgument, ModelOption, StorageOption


class PlanFormat(StrEnum):
    """The format in which a plan is printed."""

    TABLE = "table"
    JSON = "json"
    MERMAID = "mermaid"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (validate, plan, explain, schema):
        app.command(rich_help_panel="Prepare")(command)


def validate(file: FileArgument) -> None:
    """Check every field of an Experiment YAML. Reads no data and no models.

    [dim]misstep validate my-experiment.yaml[/dim]
    """
    experiment = opened_file(file).validate()
    spec = experiment.spec
    counts = f"{len(spec.arms)} arms, {len(spec.problems.sizes)} sizes, {len(spec.seeds)} seeds"
    print(f"{file}: {experiment.metadata.name} is a valid Experiment ({counts})")


def plan(
    file: FileArgument,
    data: DataOption = None,
    model: ModelOption = None,
    storage: StorageOption = None,
    output: Annotated[PlanFormat, typer.Option("--output", "-o", help="Format.")] = PlanFormat.TABLE,
    stages: Annotated[bool, typer.Option("--stages", help="Print a line for each stage, with its key.")] = False,
    explain_cost: Annotated[
        bool,
        typer.Option(
            "--explain-cost", help="Show how costs are computed: expected amounts, rates, and each term of memory."
        ),
    ] = False,
) -> None:
    """Show the stages of an experiment, what they will cost, and which are done already.

    The models are checked first (`misstep inspect-model` shows more). A model that cannot be used is refused, and so is
    a stage that cannot fit its GPUs.

    [dim]misstep plan examples/gsm8k-qwen2.5-math-1.5b.yaml --explain-cost[/dim]
    """
    from misstep.cli.terminal import console, plain_table
    from misstep.cost import render, show

    planned = opened_file(file, data, model, storage).plan()
    found, cost, committed = planned.plan, planned.cost, planned.done
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
                *map("note: {}".format, planned.notes),
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


def schema() -> None:
    """Print the JSON Schema of an Experiment, by which editors check and complete the YAML.

    An editor with a YAML language server finds it by a comment in the file, `# yaml-language-server: $schema=PATH`.
    `misstep init` writes both.

    [dim]misstep schema > experiment.schema.json[/dim]
    """
    from misstep.spec.schema import schema_text

    print(schema_text(), end="")
