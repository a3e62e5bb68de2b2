"""What ``misstep run`` and ``misstep tune`` share: running a plan on this machine, and the command's exit code."""

from __future__ import annotations

import datetime
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from misstep.errors import EXIT_BAD_INPUT, EXIT_FAILED, BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from misstep.artifacts.watch import StoreWatch
    from misstep.plan.planner import Plan
    from misstep.runner.events import Listener
    from misstep.runner.run import Outcome, Settings
    from misstep.runner.schedule import Graph
    from misstep.runner.workdir import Workdir
    from misstep.spec.experiment import SecretVariable
    from misstep.store.base import Store

_SIGNALLED = 128


@dataclass(frozen=True)
class RunOutput:
    """What a run prints, and where."""

    out: Console
    file: Path
    """The Experiment's YAML."""
    quiet: bool = False
    """Print only failures."""
    as_json: bool = False
    """Print events as JSON lines."""


def check_secrets(secrets: Sequence[SecretVariable]) -> None:
    """Check that every credential that the experiment names is set. Raises BadInput. Reads no value, nor prints one."""
    missing = [
        (f"spec.secrets[{i}].env", secret.env) for i, secret in enumerate(secrets) if not os.environ.get(secret.env)
    ]
    if missing:
        (field, name), *others = missing
        also = f" Also missing: {', '.join(f'{name} ({field})' for field, name in others)}." if others else ""
        fix = f"The environment has no such variable, or an empty one: export {name}=... before this command.{also}"
        raise BadInput(field, name, fix)


def check_installed(command: str, plan: Plan, store: Store, graph: Graph | None = None) -> None:
    """Check that the libraries of all stages that will run are installed. Raises NotInstalled.

    Stages that the store has need none. So where everything is there, the core alone shows the report.

    Args:
        command: what the user runs, for the message.
        graph: which results are wanted; by default all of the plan.
    """
    from misstep.artifacts.manifest import committed_keys
    from misstep.plan.extras import extras_of, missing, need
    from misstep.runner.schedule import graph_of, outstanding

    if not any(missing(extra) for extra in extras_of(plan.stages)):
        return  # as nearly always, and the store need not be asked
    done = committed_keys(store, [stage.key for stage in plan.stages])
    todo = outstanding(graph or graph_of(plan), frozenset(stage.name for stage in plan.stages if stage.key in done))
    need(command, *extras_of(stage for stage in plan.stages if stage.name in todo))


def carry_out(
    plan: Plan, graph: Graph, store: Store, workdir: Workdir, settings: Settings, output: RunOutput
) -> Outcome:
    """Run the wanted stages of a plan, and print events. Stages that the store has are not run again."""
    from misstep.artifacts.watch import StoreWatch
    from misstep.runner.executor import Executor

    unused = settings.capacity.gpus and not any(stage.resources.gpus for stage in plan.stages)
    if unused and not (output.quiet or output.as_json):
        output.out.print(
            "note: no stage asks for a GPU, so the GPUs of this machine are not used; see spec.resources.default.gpus"
        )
    watch = StoreWatch(store)
    watch.refuse_foreign(plan.stages)
    return Executor(plan, graph, watch, workdir, _listeners(plan, workdir, watch, output), settings).run()


def _listeners(plan: Plan, workdir: Workdir, watch: StoreWatch, output: RunOutput) -> list[Listener]:
    from misstep.runner.display import FailureDisplay, JsonDisplay, TextDisplay
    from misstep.runner.run_state import RunState
    from misstep.runner.workdir import RunRecord

    storage = plan.storage
    about = {
        "experiment": plan.experiment,
        "file": str(output.file.resolve()),
        "storage": storage.uri,
        "command": sys.argv,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    remote = not storage.uri.startswith("file://")
    state = RunState({stage.name: stage.key for stage in plan.stages}, watch.heartbeats, every=5.0 if remote else 1.0)
    shown: Listener = TextDisplay(output.out, state)
    if output.as_json:
        shown = JsonDisplay(sys.stdout, state)
    elif output.quiet:
        shown = FailureDisplay(output.out)
    return [RunRecord(workdir.run_file, about), state, shown]


def exit_unless_done(outcome: Outcome, *, quiet: bool) -> None:
    """Raise typer.Exit, with the exit code, where a run was stopped or failed."""
    from misstep.runner.run import Result

    if outcome.result is Result.INTERRUPTED:
        if not quiet:
            again = shlex.join(["misstep", *sys.argv[1:]])
            sys.stderr.write(f"stopped with {outcome.left} stages left; finished work is kept. To go on:\n  {again}\n")
        raise typer.Exit(_SIGNALLED + (outcome.signal or 0))
    if outcome.result is Result.FAILED:
        names = ", ".join(dict.fromkeys(failure.stage for failure in outcome.failures))
        sys.stderr.write(f"error: {names} failed and {outcome.left} stages have no result; see above\n")
        only_bad_input = all(failure.code == EXIT_BAD_INPUT for failure in outcome.failures)
        raise typer.Exit(EXIT_BAD_INPUT if only_bad_input else EXIT_FAILED)
