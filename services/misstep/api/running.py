"""Running a plan on this machine: what is checked before, what is shown, and how it ends."""

from __future__ import annotations

import datetime
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import EXIT_BAD_INPUT, EXIT_FAILED, BadInput, MisstepError

if TYPE_CHECKING:
    from misstep.plan.planner import Plan
    from misstep.runner.events import Listener
    from misstep.runner.run import Failure, Outcome, Settings
    from misstep.runner.run_state import RunState
    from misstep.runner.schedule import Graph
    from misstep.runner.workdir import Workdir
    from misstep.spec.experiment import SecretVariable
    from misstep.store.base import Store

_SYSTEMS = {"darwin": "macOS", "win32": "Windows"}


def check_machine(what: str, file: Path, secrets: Sequence[SecretVariable]) -> None:
    """Check, before anything is read or written, that a run can start here.

    Args:
        what: what the user runs, for the message.
        file: the Experiment's YAML, for the message.

    Raises:
        BadInput: this is no Linux, or a credential is missing.
        MisstepError: this is not the main thread.
    """
    need_linux(what, file)
    need_main_thread()
    check_secrets(secrets)


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


def need_linux(what: str, file: Path) -> None:
    """Check that stages can run on this machine. Raises BadInput with what to do elsewhere than on Linux.

    Args:
        what: what the user runs, for the message.
        file: the Experiment's YAML, for the commands in it.
    """
    if sys.platform == "linux":
        return
    raise BadInput(
        what,
        f"this machine runs {_SYSTEMS.get(sys.platform, sys.platform)}",
        "Stages run on Linux only: they are locked, watched and ended by what its kernel offers. Use one of:"
        f"\n  a Linux machine:     copy {file} and its data there, and run the same command"
        '\n  a container here:    docker run --rm -it -v "$PWD":/work -w /work python:3.11 bash'
        f"""\n                       and in it: pip install "dist/WHEEL[local]" && misstep run {file}"""
        f"\n  a cluster:           misstep upload {file} --storage s3://BUCKET/PREFIX | kubectl apply -f -"
        "\nThese work here: validate, plan, schema, upload, status, logs, report, artifacts, compare, track, push.",
    )


def need_main_thread() -> None:
    """Raise MisstepError in another thread: a run handles signals, and its processes end with the thread."""
    if threading.current_thread() is not threading.main_thread():
        raise MisstepError("a run must be started in the main thread of its process: it handles Ctrl-C while it lasts")


@dataclass(frozen=True)
class Shown:
    """Where a run is shown."""

    listener: Callable[[RunState], Listener]
    """Makes the listener that shows it; the state is kept up to date for it."""
    note: Callable[[str], None]
    """Is told what is unusual, in sentences."""
    say: Callable[[str], None]
    """Is told what was done before the start, in lines."""


def carry_out(
    plan: Plan,
    graph: Graph,
    store: Store,
    workdir: Workdir,
    settings: Settings,
    shown: Shown,
    about: Mapping[str, Any],
    more: Sequence[Listener] = (),
) -> Outcome:
    """Run the wanted stages of a plan. Stages that the store has are not run again.

    Args:
        about: what ``run.json`` says of this run beside its events: ``file`` and ``command``.
        more: who is told of events after ``run.json`` and the display.

    Raises:
        StageFailed: stages failed.
        RunStopped: Ctrl-C, or SIGTERM, stopped it.
        Foreign: a result in the store is another stage's.
        BadInput: a stage needs more GPUs than the machine has.
    """
    from misstep.artifacts.watch import StoreWatch
    from misstep.runner.executor import Executor
    from misstep.runner.run import Result
    from misstep.runner.run_state import RunState
    from misstep.runner.workdir import RunRecord

    if settings.capacity.gpus and not any(stage.resources.gpus for stage in plan.stages):
        shown.note("no stage asks for a GPU, so the GPUs of this machine are not used; see spec.resources.default.gpus")
    watch = StoreWatch(store)
    watch.refuse_foreign(plan.stages)
    record = {
        "experiment": plan.experiment,
        "storage": plan.storage.uri,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **about,
    }
    remote = not plan.storage.uri.startswith("file://")
    state = RunState({stage.name: stage.key for stage in plan.stages}, watch.heartbeats, every=5.0 if remote else 1.0)
    listeners: list[Listener] = [RunRecord(workdir.run_file, record), state, shown.listener(state), *more]
    outcome = Executor(plan, graph, watch, workdir, listeners, settings).run()
    if outcome.result is Result.INTERRUPTED:
        raise RunStopped(outcome.left, outcome.signal or 0)
    if outcome.result is Result.FAILED:
        raise StageFailed(outcome.failures, outcome.left)
    return outcome


class StageFailed(MisstepError):
    """Stages failed in all their attempts. Finished work is kept; another run starts them again."""

    def __init__(self, failures: Sequence[Failure], left: int) -> None:
        self.failures = tuple(failures)
        """Each shard that failed, with its error, its log and the command that runs it alone."""
        self.left = left
        """How many stages have no result."""
        names = ", ".join(dict.fromkeys(failure.stage for failure in failures))
        self.brief = f"{names} failed and {left} stages have no result"
        """In one line."""
        super().__init__("\n".join([f"{self.brief}:", *map(_in_words, failures)]))

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """64 where all failures are wrong input, which running again cannot help."""
        only_bad_input = all(failure.code == EXIT_BAD_INPUT for failure in self.failures)
        return EXIT_BAD_INPUT if only_bad_input else EXIT_FAILED


class RunStopped(KeyboardInterrupt):
    """The run was stopped: its stages have ended, and finished work is kept.

    Attributes:
        left: how many stages have no result.
        signal: the number of the signal that stopped it.
    """

    def __init__(self, left: int, signal: int) -> None:
        super().__init__(f"stopped with {left} stages left; finished work is kept, and another run goes on from there")
        self.left, self.signal = left, signal


def _in_words(failure: Failure) -> str:
    shard = f" [shard {failure.shard}]" if failure.shard else ""
    return f"{failure.stage}{shard} (exit {failure.code}): {failure.error}\n  its log is {failure.log}"
