"""Run a plan on one machine: start what the schedule says, wait for its processes, note their results."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.runner.commits import Commits, StageResults
from misstep.runner.events import EventPublisher, Listener
from misstep.runner.launch import Ended, Loaded, ServerGone, Started, Unforkable
from misstep.runner.ledger import After, Ledger
from misstep.runner.locks import ShardLocks
from misstep.runner.machine import check_gpus
from misstep.runner.processes import Process, Processes, error_of, failure_of, meeting_point
from misstep.runner.run import Failure, Outcome, Result, Settings
from misstep.runner.schedule import Graph, Task
from misstep.runner.workdir import Workdir


class Executor:
    """One run. Create and use it in the main thread: while it runs, it handles SIGINT and SIGTERM."""

    def __init__(
        self,
        plan: Plan,
        graph: Graph,
        results: StageResults,
        workdir: Workdir,
        listeners: Sequence[Listener],
        settings: Settings,
    ) -> None:
        storage = plan.stages[0].storage
        self._stages = {stage.name: stage for stage in plan.stages}
        self._workdir = workdir
        self._settings = settings
        self._publisher = EventPublisher(listeners)
        self._publish = self._publisher.publish
        self._commits = Commits(results, lambda error: self._publish("store-silent", error=error))
        self._ledger = Ledger(graph, retries=settings.retries, keep_going=settings.keep_going)
        self._processes = Processes(workdir, settings, s3=storage.uri.startswith("s3://"))
        self._locks = ShardLocks(storage)
        self._failures: list[Failure] = []
        self._signals: list[int] = []
        self._kill_at: float | None = None
        self._polled = time.monotonic()
        self._unconfirmed: list[Ended] = []
        """Reports of ended processes for which the store has not answered yet whether their stage is committed."""

    def run(self) -> Outcome:
        """Run until everything wanted is committed, has failed, or the run is stopped.

        Raises:
            BadInput: a stage needs more GPUs than the machine has.
            MisstepError: the store cannot be read.
        """
        try:
            return self._run()
        finally:
            self._publisher.close()

    def _run(self) -> Outcome:
        ledger = self._ledger
        names = {stage.key: name for name, stage in self._stages.items()}
        for key in self._commits.among(list(names)):
            ledger.commit(names[key])
        todo = [name for name in self._stages if name in ledger.outstanding]
        check_gpus([self._stages[name] for name in todo], self._settings.capacity)
        self._publish("run-started", stages=len(self._stages), todo=todo, committed=sorted(ledger.committed))
        if not todo:
            return self._finish(Outcome(Result.NOTHING_TO_DO))
        for name in todo:
            self._workdir.write_stage(self._stages[name])
        with noting_signals(self._signals):
            try:
                while not ledger.is_over():
                    self._start_ready()
                    self._listen()
                    self._confirm()
                    self._end_survivors()
                    self._poll_other_runs()
                    self._stop_if_asked()
            finally:
                self._processes.close()
                self._locks.close()
        return self._finish(self._outcome())

    def _start_ready(self) -> None:
        for task in self._ledger.next_tasks(self._settings.capacity):
            stage = self._stages[task.stage]
            if stage.resources.distributed and task.shard > 0:
                continue  # shard 0 starts all shards
            if task.stage in self._ledger.committed:
                continue  # found a moment ago, for another shard
            committed = self._commits.has(stage.key)
            if committed is None:
                return
            if committed:
                self._commit(task.stage)
                continue
            tasks = self._ledger.graph.nodes[task.stage].tasks() if stage.resources.distributed else [task]
            if self._locks.acquire_all(stage.key, [one.shard for one in tasks]):
                environment = meeting_point(stage)
                for one in tasks:
                    self._start(one, stage, environment)
            else:
                for one in tasks:
                    self._ledger.wait_for_other_run(one)
                    self._publish("shard-waiting", one)

    def _start(self, task: Task, stage: FrozenStage, environment: Mapping[str, str]) -> None:
        attempt = self._ledger.start(task)
        self._publish("shard-asked", task, attempt=attempt)
        outstanding = [self._stages[name] for name in self._ledger.outstanding]
        self._processes.start(task, attempt, stage, environment, outstanding)

    def _listen(self) -> None:
        for report in self._processes.reports():
            match report:
                case Started():
                    self._started(report)
                case Ended():
                    self._unconfirmed.append(report)
                case Loaded(left=0):
                    self._publish("preloaded")
                case Unforkable():
                    self._publish("isolated", threads=report.threads)
                case ServerGone():
                    self._unconfirmed += self._processes.server_gone()
        self._publisher.tick()

    def _started(self, report: Started) -> None:
        process = self._processes.get(report.ident)
        if process is not None:
            process.began = report.at
            self._publish("shard-started", process.task, at=report.at, pid=report.pid, attempt=process.attempt)
            if self._signals:  # it was requested before the stop
                self._processes.signal(report.ident, signal.SIGKILL)

    def _confirm(self) -> None:
        """Finish ended processes: each counts as running until the store has said whether its stage is committed."""
        for report in list(self._unconfirmed):
            process = self._processes.get(report.ident)
            if process is None:  # dropped when the run was stopped
                self._unconfirmed.remove(report)
                continue
            committed = self._commits.has(self._stages[process.task.stage].key)
            if committed is None and not self._ledger.stopping:
                return
            self._unconfirmed.remove(report)
            self._ended(report, committed=bool(committed))

    def _ended(self, report: Ended, *, committed: bool) -> None:
        process, code = self._processes.settle(report.ident), report.code
        task = process.task
        self._locks.release(self._stages[task.stage].key, task.shard)
        after = self._ledger.end(task, code, committed=committed)
        seconds = round(report.at - process.began, 3)
        self._publish("shard-ended", task, at=report.at, code=code, seconds=seconds, cpu_seconds=report.cpu_seconds)
        match after:
            case After.COMMITTED:
                self._commit(task.stage, seconds)
            case After.RETRY:
                self._publish("shard-retried", task, code=code, error=error_of(process, code, self._workdir))
            case After.FAILED:
                self._fail(process, code)

    def _end_survivors(self) -> None:
        """Kill what is left of a training over several nodes of which one has failed: nothing more is lost by it."""
        for task in self._ledger.survivors():
            self._processes.signal_task(task, signal.SIGKILL)

    def _commit(self, name: str, seconds: float | None = None) -> None:
        """Note a committed stage.

        Args:
            seconds: how long this run's process took; None where another run committed it.
        """
        self._ledger.commit(name)
        summary = self._commits.summary(self._stages[name].key)
        self._publish("stage-committed", Task(name, 0), seconds=seconds, summary=summary)

    def _fail(self, process: Process, code: int) -> None:
        failure = failure_of(process, code, self._workdir)
        self._failures.append(failure)
        self._publish(
            "stage-failed",
            process.task,
            code=code,
            error=failure.error,
            log=failure.log,
            rerun=failure.rerun,
            still_running=self._processes.stages(),
        )

    def _poll_other_runs(self) -> None:
        if not self._ledger.elsewhere or time.monotonic() - self._polled < self._settings.poll_seconds:
            return
        self._polled = time.monotonic()
        for task in sorted(self._ledger.elsewhere):
            if task not in self._ledger.elsewhere:
                continue  # its stage was committed a moment ago
            key = self._stages[task.stage].key
            if self._commits.has(key):
                self._commit(task.stage)
            elif self._locks.acquire(key, task.shard):
                self._locks.release(key, task.shard)
                self._ledger.other_run_left(task)

    def _stop_if_asked(self) -> None:
        """After one signal, stop all stages, and kill them after the grace time; after a second, kill them at once."""
        if not self._signals:
            return
        first = not self._ledger.stopping
        if first:
            self._ledger.stopping = True
            self._kill_at = time.monotonic() + self._settings.grace_seconds
            self._publish("stopping", running=self._processes.stages())
            self._processes.signal_all(signal.SIGTERM)
            for task in self._processes.drop_unstarted():
                self._ledger.end(task, -signal.SIGTERM, committed=False)
        late = self._kill_at is not None and time.monotonic() >= self._kill_at
        if len(self._signals) > 1 or late:
            self._kill_at = None
            self._processes.signal_all(signal.SIGKILL)

    def _outcome(self) -> Outcome:
        left = len(self._ledger.outstanding)
        failures, blocked = tuple(self._failures), tuple(n for n in self._stages if n in self._ledger.blocked)
        if left and self._signals:
            return Outcome(Result.INTERRUPTED, failures, blocked, left, self._signals[0])
        return Outcome(Result.FAILED if left else Result.DONE, failures, blocked, left)

    def _finish(self, outcome: Outcome) -> Outcome:
        self._publish("run-ended", outcome=outcome.result.value, left=outcome.left, blocked=list(outcome.blocked))
        return outcome


@contextmanager
def noting_signals(into: list[int]) -> Iterator[None]:
    """Append the numbers of SIGINT and SIGTERM to a list, and do nothing else with them. Main thread only."""

    def note(number: int, _frame: FrameType | None) -> None:
        into.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
