"""What a run has done so far: the bookkeeping between the schedule and the processes. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from misstep.errors import EXIT_BAD_INPUT
from misstep.runner.schedule import Capacity, Graph, State, Task, blocked, is_over, outstanding, to_start


class After(StrEnum):
    """What the end of one process means."""

    COMMITTED = "committed"
    """Its stage now has its manifest; told once a stage."""
    ENDED = "ended"
    """Well, and its stage's manifest is still to come, or was there before."""
    RETRY = "retry"
    FAILED = "failed"
    STOPPED = "stopped"


class Ledger:
    """Mutable state of one run. ``retries`` is how often one shard may be started again after a failure."""

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
        """Stages that run together, have lost a task, and still have others of the same attempt running."""
        self._allowed = retries + 1

    @property
    def state(self) -> State:
        return State(
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
        """Note a manifest. What another run or pod has committed counts as much as this run's own."""
        self.committed.add(stage)
        self._forget(stage)

    def start(self, task: Task) -> int:
        """Note a start; return which attempt it is, from 1."""
        self.running.add(task)
        self._broken.discard(task.stage)
        self.attempts[task] += 1
        return self.attempts[task]

    def wait_for_other_run(self, task: Task) -> None:
        self.elsewhere.add(task)

    def other_run_left(self, task: Task) -> None:
        self.elsewhere.discard(task)

    def end(self, task: Task, code: int, *, committed: bool) -> After:
        """Note that a process ended with an exit code (minus a signal's number), its stage having a manifest or not.

        Of tasks that run together the first that ends badly speaks for all; the others are to be ended (``survivors``),
        and how they end means nothing, unless one has refused its input.
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
                self._forget(task.stage)  # one failed before it and is to start again, and so all are
                return After.ENDED
            if not self.ended.issuperset(node.tasks()):
                return After.ENDED
            self._forget(task.stage)  # all shards ended well and nothing was committed: as good as a failure
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
        """Return the tasks that still run although one of those that they run together with has ended badly."""
        return [task for task in self.running if task.stage in self._broken]

    def _forget(self, stage: str) -> None:
        self.ended = {task for task in self.ended if task.stage != stage}
        self.elsewhere = {task for task in self.elsewhere if task.stage != stage}
