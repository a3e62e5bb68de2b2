"""What a run has done so far: it stands between the schedule and the processes. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from misstep.errors import EXIT_BAD_INPUT
from misstep.runner.schedule import Capacity, Graph, ScheduleState, Task, blocked, is_over, outstanding, to_start


class After(StrEnum):
    """What the end of one process means."""

    COMMITTED = "committed"
    """Its stage now has its manifest; returned once for each stage."""
    ENDED = "ended"
    """It ended without an error; its stage's manifest is still to come, or was there before."""
    RETRY = "retry"
    FAILED = "failed"
    STOPPED = "stopped"


class Ledger:
    """Which tasks of one run have started, ended and failed.

    Args:
        retries: how often one shard may be started again after a failure.
        keep_going: whether other stages may start after a failure.
    """

    def __init__(self, graph: Graph, *, retries: int = 1, keep_going: bool = False) -> None:
        self.graph = graph
        self.keep_going = keep_going
        self.stopping = False
        self.committed: set[str] = set()
        self.failed: set[str] = set()
        self.running: set[Task] = set()
        self.ended: set[Task] = set()
        self.elsewhere: set[Task] = set()
        self.attempts: Counter[Task] = Counter()
        self._broken: set[str] = set()
        """Stages whose shards run together, of which one has failed while others of its attempt still run."""
        self._allowed = retries + 1

    @property
    def state(self) -> ScheduleState:
        return ScheduleState(
            committed=frozenset(self.committed),
            failed=frozenset(self.failed),
            running=frozenset(self.running),
            ended=frozenset(self.ended),
            elsewhere=frozenset(self.elsewhere),
        )

    @property
    def outstanding(self) -> frozenset[str]:
        return outstanding(self.graph, frozenset(self.committed))

    @property
    def blocked(self) -> frozenset[str]:
        return blocked(self.graph, frozenset(self.failed)) & self.outstanding

    def next_tasks(self, capacity: Capacity) -> list[Task]:
        if self.stopping:
            return []
        return to_start(self.graph, self.state, capacity, keep_going=self.keep_going)

    def is_over(self) -> bool:
        if self.stopping:
            return not self.running
        return is_over(self.graph, self.state, keep_going=self.keep_going)

    def commit(self, stage: str) -> None:
        """Note that a stage has a manifest, whoever wrote it."""
        self.committed.add(stage)
        self._forget(stage)

    def start(self, task: Task) -> int:
        """Note a start, and return the number of the attempt, from 1."""
        self.running.add(task)
        self._broken.discard(task.stage)
        self.attempts[task] += 1
        return self.attempts[task]

    def wait_for_other_run(self, task: Task) -> None:
        self.elsewhere.add(task)

    def other_run_left(self, task: Task) -> None:
        self.elsewhere.discard(task)

    def end(self, task: Task, code: int, *, committed: bool) -> After:
        """Note the end of a process, and return what it means.

        Of tasks that run together, the first that fails counts for all. The others are to be killed (``survivors``);
        their exit codes mean nothing, unless one has refused its input.

        Args:
            code: exit code, or minus the number of the signal that killed it.
            committed: whether its stage has a manifest.
        """
        self.running.discard(task)
        if committed or task.stage in self.committed:
            news = task.stage not in self.committed
            self.commit(task.stage)
            return After.COMMITTED if news else After.ENDED
        if code == 0:
            self.ended.add(task)
            node = self.graph.nodes[task.stage]
            if task.stage in self._broken:
                self._forget(task.stage)  # one failed before it: all start again
                return After.ENDED
            if not self.ended.issuperset(node.tasks()):
                return After.ENDED
            self._forget(task.stage)  # all shards ended without an error and nothing was committed: a failure
        elif self.graph.nodes[task.stage].distributed:
            self._forget(task.stage)  # the others start again with it
            if task.stage in self._broken and (code != EXIT_BAD_INPUT or task.stage in self.failed):
                return After.STOPPED if self.stopping else After.ENDED
            self._broken.add(task.stage)
        if self.stopping:
            return After.STOPPED
        if code == EXIT_BAD_INPUT or self.attempts[task] >= self._allowed:
            self.failed.add(task.stage)
            return After.FAILED
        return After.RETRY

    def survivors(self) -> list[Task]:
        """Return the tasks that still run although another task of the same training has failed."""
        return [task for task in self.running if task.stage in self._broken]

    def _forget(self, stage: str) -> None:
        self.ended = {task for task in self.ended if task.stage != stage}
        self.elsewhere = {task for task in self.elsewhere if task.stage != stage}
