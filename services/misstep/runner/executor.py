"""Run a plan on one machine: start what the schedule says, watch it, note what it brought."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from types import FrameType
from typing import Any, Protocol

from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.processes import free_port
from misstep.runner import preload
from misstep.runner.events import Event, Listener, What
from misstep.runner.launch import ENTRY, Ended, Launcher, Loaded, ServerGone, Started, Unforkable
from misstep.runner.ledger import After, Ledger
from misstep.runner.locks import ShardLocks
from misstep.runner.machine import check_gpus
from misstep.runner.schedule import Capacity, Graph, Task
from misstep.runner.workdir import Workdir, last_error

_KILLED = -signal.SIGKILL


class Watch(Protocol):
    """What the executor asks of the store."""

    def committed(self, key: str) -> bool: ...
    def committed_among(self, keys: Sequence[str]) -> frozenset[str]: ...
    def summary(self, key: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Settings:
    """How to run."""

    capacity: Capacity
    retries: int = 1
    keep_going: bool = False
    isolate: bool = False
    grace_seconds: float = 10.0
    """Between SIGTERM and SIGKILL when a run is stopped."""
    poll_seconds: float = 0.5
    entry: str = ENTRY


class Result(StrEnum):
    """How a run ended."""

    DONE = "done"
    NOTHING_TO_DO = "nothing to do"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Failure:
    """A shard whose attempts are used up, and what a person needs to go on."""

    stage: str
    shard: int
    code: int
    error: str
    log: str
    rerun: str


@dataclass(frozen=True)
class Outcome:
    """What a run brought."""

    result: Result
    failures: tuple[Failure, ...] = ()
    blocked: tuple[str, ...] = ()
    """Stages that could not start because of the failures."""
    left: int = 0
    """Stages still without a result."""
    signal: int | None = None


@dataclass
class _Process:
    task: Task
    attempt: int
    log_start: int
    gpus: tuple[str, ...] = ()
    began: float = field(default_factory=time.monotonic)


class Executor:
    """One run. Create and use it in the main thread: it takes over SIGINT and SIGTERM while it runs."""

    def __init__(
        self,
        plan: Plan,
        graph: Graph,
        watch: Watch,
        workdir: Workdir,
        listeners: Sequence[Listener],
        settings: Settings,
    ) -> None:
        self._stages = {stage.name: stage for stage in plan.stages}
        self._watch = watch
        self._s3 = plan.stages[0].storage.uri.startswith("s3://")
        self._workdir = workdir
        self._listeners = listeners
        self._settings = settings
        self._began = time.monotonic()
        self._ledger = Ledger(graph, retries=settings.retries, keep_going=settings.keep_going)
        self._processes: dict[int, _Process] = {}
        self._failures: list[Failure] = []
        self._idents = count(1)
        self._launcher: Launcher | None = None
        self._locks = ShardLocks(plan.stages[0].storage)
        self._signals: list[int] = []
        self._kill_at: float | None = None
        self._polled = self._began
        self._unconfirmed: list[Ended] = []
        """Ends whose stage's manifest could not be looked for, as the store did not answer."""
        self._silent = False

    def run(self) -> Outcome:
        """Run until everything wanted is committed, has failed, or the run is stopped.

        Raises:
            BadInput: a stage needs more GPUs than the machine has.
            MisstepError: the store cannot be read.
        """
        try:
            return self._run()
        finally:
            for listener in self._listeners:
                listener.close()

    def _run(self) -> Outcome:
        ledger = self._ledger
        names = {stage.key: name for name, stage in self._stages.items()}
        for key in self._watch.committed_among(list(names)):
            ledger.commit(names[key])
        todo = [name for name in self._stages if name in ledger.outstanding]
        check_gpus([self._stages[name] for name in todo], self._settings.capacity)
        self._tell("run-started", stages=len(self._stages), todo=todo, committed=sorted(ledger.committed))
        if not todo:
            return self._finish(Outcome(Result.NOTHING_TO_DO))
        for name in todo:
            self._workdir.write_stage(self._stages[name])
        with self._taking_signals():
            try:
                while not ledger.is_over():
                    self._start_ready()
                    self._listen()
                    self._confirm()
                    self._poll_other_runs()
                    self._press_stop()
            finally:
                if self._launcher is not None:
                    self._launcher.close()
                self._locks.close()
        return self._finish(self._outcome())

    def _start_ready(self) -> None:
        for task in self._ledger.next_tasks(self._settings.capacity):
            stage = self._stages[task.stage]
            if stage.resources.together and task.shard > 0:
                continue  # its first node speaks for all
            if task.stage in self._ledger.committed:
                continue  # noticed a moment ago, for another shard
            committed = self._is_committed(stage.key)
            if committed is None:
                return
            if committed:
                self._commit(task.stage)
                continue
            tasks = self._ledger.graph.nodes[task.stage].tasks() if stage.resources.together else [task]
            if self._acquire_all(stage.key, tasks):
                meeting_point = _meeting_point(stage)
                for one in tasks:
                    self._start(one, stage, meeting_point)
            else:
                for one in tasks:
                    self._ledger.wait_for_other_run(one)
                    self._tell("shard-waiting", one)

    def _acquire_all(self, key: str, tasks: Sequence[Task]) -> bool:
        """Take the locks of tasks that start together, all or none."""
        held: list[int] = []
        for task in tasks:
            if not self._locks.acquire(key, task.shard):
                for shard in held:
                    self._locks.release(key, shard)
                return False
            held.append(task.shard)
        return True

    def _start(self, task: Task, stage: FrozenStage, environment: Mapping[str, str]) -> None:
        log = self._workdir.log(*task)
        self._workdir.error(*task).unlink(missing_ok=True)
        attempt = self._ledger.start(task)
        ident = next(self._idents)
        gpus = self._free_gpus(stage.resources.gpus)
        self._processes[ident] = _Process(task, attempt, log.stat().st_size if log.exists() else 0, gpus)
        self._tell("shard-asked", task, attempt=attempt)
        self._server().start(
            ident,
            [str(self._workdir.frozen(task.stage)), "--shard", str(task.shard)],
            log=log,
            threads=stage.resources.cpus,
            modules=self._modules_of(stage),
            title=task.stage,
            environment=environment,
            error_file=self._workdir.error(*task),
            gpus=gpus,
        )

    def _free_gpus(self, count: int) -> tuple[str, ...]:
        taken = {gpu for process in self._processes.values() for gpu in process.gpus}
        free = [gpu for gpu in self._settings.capacity.gpus if gpu not in taken]
        assert count <= len(free), "the schedule starts no more than fit"
        return tuple(free[:count])

    def _modules_of(self, stage: FrozenStage) -> tuple[str, ...]:
        if stage.resources.together:
            return preload.modules_of_parent(s3=self._s3)
        return preload.modules_of(stage.kind, s3=self._s3)

    def _server(self) -> Launcher:
        if self._launcher is None:
            outstanding = [self._stages[name] for name in self._ledger.outstanding]
            kinds = {stage.kind for stage in outstanding if not stage.resources.together}
            parents = [m for stage in outstanding if stage.resources.together for m in self._modules_of(stage)]
            self._launcher = Launcher(
                self._workdir.root / "logs" / "forkserver.log",
                list(dict.fromkeys([*parents, *preload.in_order(kinds, s3=self._s3)])),
                isolate=self._settings.isolate,
                entry=self._settings.entry,
            )
        return self._launcher

    def _listen(self) -> None:
        if self._launcher is None:  # only other runs are at work
            time.sleep(self._settings.poll_seconds)
            reports = []
        else:
            reports = self._launcher.reports(self._settings.poll_seconds)
        for report in reports:
            match report:
                case Started():
                    self._started(report)
                case Ended():
                    self._unconfirmed.append(report)
                case Loaded(left=0):
                    self._tell("preloaded")
                case Unforkable():
                    self._tell("isolated", threads=report.threads)
                case ServerGone():
                    self._server_gone()
        for listener in self._listeners:
            listener.tick(time.monotonic() - self._began)

    def _started(self, report: Started) -> None:
        process = self._processes.get(report.ident)
        if process is not None:
            process.began = report.at
            self._tell("shard-started", process.task, at=report.at, pid=report.pid, attempt=process.attempt)
            if self._signals and self._launcher is not None:  # it was asked for before the stop
                self._launcher.signal(report.ident, signal.SIGKILL)

    def _confirm(self) -> None:
        """Settle ends: a process counts as running until the store has said whether its stage is committed."""
        for report in list(self._unconfirmed):
            process = self._processes.get(report.ident)
            if process is None:  # dropped when the run was stopped
                self._unconfirmed.remove(report)
                continue
            committed = self._is_committed(self._stages[process.task.stage].key)
            if committed is None and not self._ledger.stopping:
                return
            self._unconfirmed.remove(report)
            self._ended(report, committed=bool(committed))

    def _ended(self, report: Ended, *, committed: bool) -> None:
        process, code = self._processes.pop(report.ident), report.code
        task = process.task
        self._locks.release(self._stages[task.stage].key, task.shard)
        after = self._ledger.end(task, code, committed=committed)
        seconds = round(report.at - process.began, 3)
        self._tell("shard-ended", task, at=report.at, code=code, seconds=seconds, cpu_seconds=report.cpu_seconds)
        match after:
            case After.COMMITTED:
                self._commit(task.stage, seconds)
            case After.RETRY:
                self._tell("shard-retried", task, code=code, error=self._error(process, code))
            case After.FAILED:
                self._fail(process, code)

    def _commit(self, name: str, seconds: float | None = None) -> None:
        """Without ``seconds`` it was someone else who committed it."""
        self._ledger.commit(name)
        try:
            summary = dict(self._watch.summary(self._stages[name].key))
        except BadInput:
            raise
        except MisstepError:  # the store has gone silent: the line goes without counts
            summary = {}
        self._tell("stage-committed", Task(name, 0), seconds=seconds, summary=summary)

    def _is_committed(self, key: str) -> bool | None:
        """Ask the store; None where it does not answer, which is an outage to sit out and no stage's failure."""
        try:
            committed = self._watch.committed(key)
        except BadInput:
            raise
        except MisstepError as error:
            if not self._silent:
                self._tell("store-silent", error=str(error))
            self._silent = True
            return None
        self._silent = False
        return committed

    def _fail(self, process: _Process, code: int) -> None:
        task = process.task
        failure = Failure(
            stage=task.stage,
            shard=task.shard,
            code=code,
            error=self._error(process, code),
            log=str(self._workdir.log(*task)),
            rerun=f"misstep stage {self._workdir.frozen(task.stage)} --shard {task.shard}",
        )
        self._failures.append(failure)
        others = sorted({other.task.stage for other in self._processes.values()})
        self._tell("stage-failed", task, code=code, error=failure.error, log=failure.log, rerun=failure.rerun,
                   still_running=others)  # fmt: skip

    def _error(self, process: _Process, code: int) -> str:
        said = last_error(self._workdir.error(*process.task), self._workdir.log(*process.task), process.log_start)
        if code == 0:
            return "all its shards ended well, but none wrote the manifest"
        if code < 0:
            name = signal.Signals(-code).name
            reason = " (most likely for want of memory)" if code == _KILLED else ""
            return f"killed by {name}{reason}" + (f"; its last line was: {said}" if said else "")
        return said or f"exit code {code} and nothing in its log; see forkserver.log beside it"

    def _server_gone(self) -> None:
        assert self._launcher is not None
        self._launcher.close()
        self._launcher = None
        self._unconfirmed += [Ended(ident, _KILLED, time.monotonic(), 0.0) for ident in self._processes]

    def _poll_other_runs(self) -> None:
        if not self._ledger.elsewhere or time.monotonic() - self._polled < self._settings.poll_seconds:
            return
        self._polled = time.monotonic()
        for task in sorted(self._ledger.elsewhere):
            if task not in self._ledger.elsewhere:
                continue  # its stage was committed a moment ago
            key = self._stages[task.stage].key
            if self._is_committed(key):
                self._commit(task.stage)
            elif self._locks.acquire(key, task.shard):
                self._locks.release(key, task.shard)
                self._ledger.other_run_left(task)

    @contextmanager
    def _taking_signals(self) -> Iterator[None]:
        def note(number: int, _frame: FrameType | None) -> None:
            self._signals.append(number)

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _press_stop(self) -> None:
        """After one signal ask all stages to end, and kill them after the grace time; after a second kill at once."""
        if not self._signals:
            return
        first = not self._ledger.stopping
        if first:
            self._ledger.stopping = True
            self._kill_at = time.monotonic() + self._settings.grace_seconds
            self._tell("stopping", running=sorted({p.task.stage for p in self._processes.values()}))
            self._send_all(signal.SIGTERM)
            self._drop_unstarted()
        late = self._kill_at is not None and time.monotonic() >= self._kill_at
        if len(self._signals) > 1 or late:
            self._kill_at = None
            self._send_all(signal.SIGKILL)

    def _send_all(self, number: int) -> None:
        if self._launcher is not None:
            for ident in list(self._processes):
                self._launcher.signal(ident, number)

    def _drop_unstarted(self) -> None:
        """Forget what was asked for and has no process yet; closing the server drops the requests."""
        for ident, process in list(self._processes.items()):
            if self._launcher is None or not self._launcher.has_started(ident):
                del self._processes[ident]
                self._ledger.end(process.task, -signal.SIGTERM, committed=False)

    def _outcome(self) -> Outcome:
        left = len(self._ledger.outstanding)
        failures, blocked = tuple(self._failures), tuple(n for n in self._stages if n in self._ledger.blocked)
        if left and self._signals:
            return Outcome(Result.INTERRUPTED, failures, blocked, left, self._signals[0])
        return Outcome(Result.FAILED if left else Result.DONE, failures, blocked, left)

    def _finish(self, outcome: Outcome) -> Outcome:
        self._tell("run-ended", outcome=outcome.result.value, left=outcome.left, blocked=list(outcome.blocked))
        return outcome

    def _tell(self, what: What, task: Task | None = None, *, at: float | None = None, **detail: Any) -> None:
        moment = (time.monotonic() if at is None else at) - self._began
        stage, shard = task or (None, None)
        event = Event(what, moment, stage, shard, detail)
        for listener in self._listeners:
            listener.tell(event)


def _meeting_point(stage: FrozenStage) -> dict[str, str]:
    """Where the nodes of a training stage meet when all of them are processes of this machine."""
    if stage.resources.nodes == 1:
        return {}
    return {"MISSTEP_MASTER_ADDR": "127.0.0.1", "MISSTEP_MASTER_PORT": str(free_port())}
