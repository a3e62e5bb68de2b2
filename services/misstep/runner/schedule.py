"""Which shards to start next on one machine: pure functions of the plan's graph and of what has happened so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

from misstep.cost.expectations import expectations
from misstep.cost.work import work_of
from misstep.plan.planner import Plan

_SMALL = 1_000.0
"""Cost of a stage that neither generates nor trains, in tokens."""


class Task(NamedTuple):
    """One process: one shard of one stage."""

    stage: str
    shard: int


@dataclass(frozen=True)
class Node:
    """What the schedule needs to know of a stage."""

    name: str
    needs: tuple[str, ...] = ()
    shards: int = 1
    cpus: int = 1
    memory_mib: int = 1024
    gpus: int = 0
    """Of each task; never more than the machine has."""
    cost: float = 1.0
    """Expected time, in any unit that is the same for all stages."""
    distributed: bool = False
    """Its shards are the nodes of one training run: all run at the same time, or none."""

    def tasks(self) -> list[Task]:
        return [Task(self.name, shard) for shard in range(self.shards)]


@dataclass(frozen=True)
class Capacity:
    """What the machine has for stages."""

    cpus: int
    memory_mib: int
    processes: int | None = None
    """Where set, it replaces the limit by cores, and no other."""
    gpus: tuple[str, ...] = ()
    """Devices, as ``CUDA_VISIBLE_DEVICES`` names them; each belongs to one task at a time."""


@dataclass(frozen=True)
class ScheduleState:
    """What has happened so far. ``committed`` and ``failed`` hold stages and only grow; the others hold tasks."""

    committed: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    running: frozenset[Task] = frozenset()
    ended: frozenset[Task] = frozenset()
    """Ended without an error, while other shards of their stage still run."""
    elsewhere: frozenset[Task] = frozenset()
    """Running for another run on this machine; this run waits for them."""


@dataclass(frozen=True)
class Graph:
    """Stages in topological order, and those whose results are wanted."""

    nodes: Mapping[str, Node]
    targets: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, nodes: Iterable[Node], targets: Iterable[str] | None = None) -> Graph:
        """Build a graph from nodes in topological order; without ``targets`` every stage is wanted.

        Raises ValueError where a stage stands before one of its inputs, twice, or a target is unknown.
        """
        seen: dict[str, Node] = {}
        for node in nodes:
            missing = [name for name in node.needs if name not in seen]
            if missing or node.name in seen:
                raise ValueError(f"stage {node.name} appears twice, or before its inputs {missing}")
            seen[node.name] = node
        wanted = frozenset(seen if targets is None else targets)
        if wanted - seen.keys():
            raise ValueError(f"no such stages: {sorted(wanted - seen.keys())}")
        return cls(seen, wanted)

    @cached_property
    def path_cost(self) -> Mapping[str, float]:
        """Cost of the longest chain of stages from each stage to the end of the plan, the stage included."""
        after: dict[str, float] = dict.fromkeys(self.nodes, 0.0)
        total: dict[str, float] = {}
        for node in reversed(list(self.nodes.values())):
            total[node.name] = node.cost + after[node.name]
            for name in node.needs:
                after[name] = max(after[name], total[node.name])
        return total


def graph_of(plan: Plan, targets: Iterable[str] | None = None) -> Graph:
    """Return the graph of a plan; without ``targets`` every stage's result is wanted.

    The cost of a stage is the number of tokens that the cost model expects to pass through its model. Training reads
    tokens faster than sampling writes them; that is ignored, because only the order of costs matters.
    """
    work = work_of(plan, expectations(plan))
    nodes = [
        Node(
            name=stage.name,
            needs=plan.dependencies(stage),
            shards=stage.shards,
            cpus=stage.resources.cpus,
            memory_mib=stage.resources.memory_mib,
            gpus=stage.resources.gpus,
            distributed=stage.resources.distributed,
            cost=_SMALL + work[stage.name].tokens,
        )
        for stage in plan.stages
    ]
    return Graph.of(nodes, targets)


def outstanding(graph: Graph, committed: frozenset[str]) -> frozenset[str]:
    """Return the stages without a result that a target needs. Inputs of a committed stage are not needed."""
    found: set[str] = set()
    stack = [name for name in graph.targets if name not in committed]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += [need for need in graph.nodes[name].needs if need not in committed]
    return frozenset(found)


def blocked(graph: Graph, failed: frozenset[str]) -> frozenset[str]:
    """Return the stages that can never start because a stage before them has failed."""
    out: set[str] = set()
    for node in graph.nodes.values():
        if any(need in failed or need in out for need in node.needs):
            out.add(node.name)
    return frozenset(out)


def to_start(graph: Graph, state: ScheduleState, capacity: Capacity, *, keep_going: bool = False) -> list[Task]:
    """Choose the tasks to start now: the longest remaining chain first, as many as cores, memory and GPUs allow.

    A task that needs more cores or memory than the machine has runs alone, with all of it. GPUs are never fewer than
    requested. The nodes of one training start all at once, and count as one task. A smaller task may start before one
    that does not fit yet. After a failure nothing starts, unless ``keep_going`` is set.
    """
    if state.failed and not keep_going:
        return []
    running = [graph.nodes[task.stage] for task in state.running]
    cpus = _slots(capacity) - sum(_cpus(node, capacity) for node in running)
    memory = capacity.memory_mib - sum(_memory(node, capacity) for node in running)
    gpus = len(capacity.gpus) - sum(node.gpus for node in running)
    chosen: list[Task] = []
    for tasks in _units(graph, _candidates(graph, state)):
        node = graph.nodes[tasks[0].stage]
        more_cpus = min(len(tasks) * _cpus(node, capacity), _slots(capacity))
        more_memory = min(len(tasks) * _memory(node, capacity), capacity.memory_mib)
        more_gpus = len(tasks) * node.gpus
        if more_cpus <= cpus and more_memory <= memory and more_gpus <= gpus:
            chosen += tasks
            cpus, memory, gpus = cpus - more_cpus, memory - more_memory, gpus - more_gpus
    return chosen


def _units(graph: Graph, tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """Group the tasks that start together; the tasks of one stage are next to each other."""
    for name, group in groupby(tasks, key=lambda task: task.stage):
        if not graph.nodes[name].distributed:
            yield from ([task] for task in group)
        elif (
            len(whole := list(group)) == graph.nodes[name].shards
        ):  # otherwise some tasks of the last attempt still end
            yield whole


def is_over(graph: Graph, state: ScheduleState, *, keep_going: bool = False) -> bool:
    """Return whether nothing runs and nothing more will start."""
    if state.running:
        return False
    if state.failed and not keep_going:
        return True
    return not _candidates(graph, state) and not _waited_for(graph, state)


def _candidates(graph: Graph, state: ScheduleState) -> list[Task]:
    busy = state.running | state.ended | state.elsewhere
    ready = [
        graph.nodes[name]
        for name in outstanding(graph, state.committed)
        if name not in state.failed and all(need in state.committed for need in graph.nodes[name].needs)
    ]
    place = {name: index for index, name in enumerate(graph.nodes)}
    ready.sort(key=lambda node: (-graph.path_cost[node.name], place[node.name]))
    return [task for node in ready for task in node.tasks() if task not in busy]


def _waited_for(graph: Graph, state: ScheduleState) -> bool:
    wanted = outstanding(graph, state.committed) - state.failed - blocked(graph, state.failed)
    return any(task.stage in wanted for task in state.elsewhere)


def _slots(capacity: Capacity) -> int:
    return capacity.cpus if capacity.processes is None else capacity.processes


def _cpus(node: Node, capacity: Capacity) -> int:
    return min(node.cpus, capacity.cpus) if capacity.processes is None else 1


def _memory(node: Node, capacity: Capacity) -> int:
    return min(node.memory_mib, capacity.memory_mib)
