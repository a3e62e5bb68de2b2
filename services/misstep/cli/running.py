"""What ``misstep run`` and ``misstep tune`` share: how a run is shown, and the command's exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from misstep.api.running import RunStopped, Shown, StageFailed
from misstep.cli.aside import aside

if TYPE_CHECKING:
    from rich.console import Console

    from misstep.runner.events import Listener
    from misstep.runner.run_state import RunState

_SIGNALLED = 128


def shown_on(out: Console, *, quiet: bool = False, as_json: bool = False) -> Shown:
    """Return how a run is shown.

    Args:
        quiet: print only failures.
        as_json: print events as JSON lines.
    """
    from misstep.runner.display import FailureDisplay, JsonDisplay, TextDisplay

    def listener(state: RunState) -> Listener:
        if as_json:
            return JsonDisplay(sys.stdout, state)
        return FailureDisplay(out) if quiet else TextDisplay(out, state)

    def note(text: str) -> None:
        if not (quiet or as_json):
            out.print(f"note: {text}", soft_wrap=True)

    def say(text: str) -> None:
        if as_json:  # standard output has nothing but events
            aside(text)
        else:
            out.print(text, soft_wrap=True)

    return Shown(listener, note, say)


@contextmanager
def exit_unless_done(*, quiet: bool) -> Iterator[None]:
    """Raise typer.Exit, with the exit code, where a run in the block is stopped or fails."""
    try:
        yield
    except RunStopped as stop:
        if not quiet:
            again = shlex.join(["misstep", *sys.argv[1:]])
            sys.stderr.write(f"stopped with {stop.left} stages left; finished work is kept. To go on:\n  {again}\n")
        raise typer.Exit(_SIGNALLED + stop.signal) from stop
    except StageFailed as error:  # the display has told what failed
        sys.stderr.write(f"error: {error.brief}; see above\n")
        raise typer.Exit(error.exit_code) from error
