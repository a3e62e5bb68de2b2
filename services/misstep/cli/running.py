"""What ``misstep run`` and ``misstep tune`` share: carrying a plan out on this machine, and how the command ends."""

from __future__ import annotations

import datetime
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from misstep.errors import EXIT_BAD_INPUT, EXIT_FAILED, BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from misstep.plan.planner import Plan
    from misstep.runner.events import Listener
    from misstep.runner.outcome import Outcome
    from misstep.runner.schedule import Graph
    from misstep.runner.settings import Settings
    from misstep.runner.watch import StoreWatch
    from misstep.runner.workdir import Workdir
    from misstep.spec.experiment import SecretVariable
    from misstep.store.base import Store

_SIGNALLED = 128

ParallelOption = Annotated[
    int | None,
    typer.Option("--parallel", min=1, metavar="N", help="Stage processes at once.", show_default="what cores allow"),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only failures and the result.")]


@dataclass(frozen=True)
class Told:
    """What is told of a run, and where."""

    out: Console
    file: Path
    """The Experiment's YAML."""
    quiet: bool = False
    """Failures alone."""
    as_json: bool = False
    """Events as JSON lines."""


def check_secrets(secrets: Sequence[SecretVariable]) -> None:
    """Refuse to start without a credential that the experiment names. Values are looked at by nobody here."""
    missing = [
        (f"spec.secrets[{i}].env", secret.env) for i, secret in enumerate(secrets) if not os.environ.get(secret.env)
    ]
    if missing:
        (field, name), *others = missing
        also = f" Also missing: {', '.join(f'{name} ({field})' for field, name in others)}." if others else ""
        fix = f"The environment has no such variable, or an empty one: export {name}=... before this command.{also}"
        raise BadInput(field, name, fix)


def carry_out(plan: Plan, graph: Graph, store: Store, workdir: Workdir, settings: Settings, told: Told) -> Outcome:
    """Run what a graph wants of a plan, and tell of it. What the store has is not done again."""
    from misstep.runner.executor import Executor
    from misstep.runner.watch import StoreWatch

    unused = settings.capacity.gpus and not any(stage.resources.gpus for stage in plan.stages)
    if unused and not (told.quiet or told.as_json):
        told.out.print("note: no stage asks for a GPU, so this machine's stay unused; see spec.resources.default.gpus")
    watch = StoreWatch(store)
    watch.refuse_foreign(plan.stages)
    return Executor(plan, graph, watch, workdir, _listeners(plan, workdir, watch, told), settings).run()


def _listeners(plan: Plan, workdir: Workdir, watch: StoreWatch, told: Told) -> list[Listener]:
    from misstep.runner.board import Board
    from misstep.runner.display import FailureDisplay, JsonDisplay, TextDisplay
    from misstep.runner.workdir import RunRecord

    storage = plan.storage
    about = {
        "experiment": plan.experiment,
        "file": str(told.file.resolve()),
        "storage": storage.uri,
        "command": sys.argv,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    remote = not storage.uri.startswith("file://")
    board = Board({stage.name: stage.key for stage in plan.stages}, watch.heartbeats, every=5.0 if remote else 1.0)
    shown: Listener = TextDisplay(told.out, board)
    if told.as_json:
        shown = JsonDisplay(sys.stdout, board)
    elif told.quiet:
        shown = FailureDisplay(told.out)
    return [RunRecord(workdir.run_file, about), board, shown]


def leave(outcome: Outcome, *, quiet: bool) -> None:
    """End the command where a run was stopped or failed: with the exit code of that. Raises typer.Exit."""
    from misstep.runner.outcome import Result

    if outcome.result is Result.INTERRUPTED:
        if not quiet:
            again = shlex.join(["misstep", *sys.argv[1:]])
            sys.stderr.write(
                f"stopped with {outcome.left} stages left; what is done stays done. To go on:\n  {again}\n"
            )
        raise typer.Exit(_SIGNALLED + (outcome.signal or 0))
    if outcome.result is Result.FAILED:
        names = ", ".join(dict.fromkeys(failure.stage for failure in outcome.failures))
        sys.stderr.write(f"error: {names} failed and {outcome.left} stages have no result; see above\n")
        only_bad_input = all(failure.code == EXIT_BAD_INPUT for failure in outcome.failures)
        raise typer.Exit(EXIT_BAD_INPUT if only_bad_input else EXIT_FAILED)
