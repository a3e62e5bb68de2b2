"""``misstep verify``, ``stage`` and ``version``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from misstep import __version__


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Tools")(verify)
    app.command(
        rich_help_panel="Tools",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )(stage)
    app.command(rich_help_panel="Tools")(version)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL or Parquet file.", show_default=False)],
    response: Annotated[str, typer.Option(metavar="COLUMN", help="Column with the responses.", show_default=False)],
    gold: Annotated[str, typer.Option(metavar="COLUMN", help="Column with the gold answers.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write; it must not exist.", show_default=False)],
    answer_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="How responses state their answer: auto, hash or boxed.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes for answers that need symbolic comparison.")] = 1,
) -> None:
    """Judge the responses in a file: adds the columns verdict and extracted.

    [dim]misstep verify answers.jsonl --response output --gold answer --out scored.jsonl[/dim]
    """
    from misstep.errors import BadInput
    from misstep.plan.extras import need

    need("misstep verify", "verification")
    from misstep.verification.extract import AnswerFormat
    from misstep.verification.table import verify_file

    formats = [known.value for known in AnswerFormat]
    if answer_format not in formats:
        raise BadInput("--format", answer_format, f"Write one of {', '.join(formats)}.")
    counts = verify_file(file, response, gold, out, AnswerFormat(answer_format), workers)
    total = sum(counts.values())
    for verdict, count in counts.most_common():
        print(f"{verdict.value:<11}{count:>9,}  {count / total:6.1%}")
    print(f"{'rows':<11}{total:>9,}  written to {out}")


def stage(context: typer.Context) -> None:
    """Run one shard of a frozen stage, as the runner and the pods of a cluster do.

    [dim]misstep stage .misstep/quickstart/stages/sft-d250-s0.json --shard 0[/dim]
    """
    from misstep.stages.main import main

    raise typer.Exit(main(context.args))


def version() -> None:
    """Print the version."""
    print(__version__)
