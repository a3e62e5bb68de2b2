"""The ``misstep`` command. Only typer is imported before the arguments are parsed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from misstep import __version__
from misstep.cli import (
    artifacts,
    audit,
    compare,
    credit,
    follow,
    init,
    models,
    plans,
    push,
    report,
    run,
    status,
    tools,
    track,
    tune,
    upload,
)
from misstep.errors import EXIT_BAD_INPUT, EXIT_FAILED, MisstepError
from misstep.printable import printable
from misstep.unpickling import read_weights_only

DEBUG = "MISSTEP_DEBUG"

app = typer.Typer(
    name="misstep",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: [bold]misstep init quickstart[/bold]",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def misstep(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Turn a language model's own wrong solutions into training data, and measure what they are worth."""


run.add_to(app)
tune.add_to(app)
init.add_to(app)
plans.add_to(app)
models.add_to(app)
upload.add_to(app)
status.add_to(app)
report.add_to(app)
compare.add_to(app)
track.add_to(app)
follow.add_to(app)
credit.add_to(app)
audit.add_to(app)
push.add_to(app)
tools.add_to(app)
artifacts.add_to(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 64 where the input is wrong, 2 for a wrong option."""
    read_weights_only()
    try:
        app(args=argv, prog_name="misstep")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_FAILED if end.code else 0
    except MisstepError as error:
        if os.environ.get(DEBUG):
            raise
        return _fail(str(error), error.exit_code)
    # The outermost place: for a defect of Misstep, a user needs one line and not a traceback.
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return _unexpected(error)
    return 0


def _unexpected(error: Exception) -> int:
    """Say in one line what has gone wrong, and return the exit code."""
    if isinstance(error, ModuleNotFoundError):
        from misstep.plan.extras import NotInstalled, extra_with

        name = error.name or ""
        extra = extra_with(name)
        if extra is not None:  # commands check that before they start; this is for what they have forgotten
            return _fail(str(NotInstalled("misstep", [name], extra)), EXIT_BAD_INPUT)
    what = f"unexpected {type(error).__name__}: {error}. This is a defect of Misstep"
    return _fail(f"{what}; run the command again with {DEBUG}=1 to see the traceback.", EXIT_FAILED)


def _fail(text: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"error: {printable(text)}\n")
    return code
