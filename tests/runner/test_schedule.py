from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from misstep.errors import EXIT_BAD_INPUT
from misstep.runner.ledger import After, Ledger
from misstep.runner.schedule import Capacity, Graph, Node, ScheduleState, Task, blocked, outstanding, to_start

MOST_GPUS = 2
"""Of one task: no machine here has fewer, as a run would be refused."""


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 12))
    nodes = []
    for index in range(count):
        needs = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        shards, together = draw(st.integers(1, 3)), draw(st.booleans())
        nodes.append(
            Node(
                name=f"s{index}",
                needs=tuple(f"s{n}" for n in sorted(needs)),
                shards=shards,
                cpus=draw(st.integers(1, 5)),
                memory_mib=draw(st.integers(1, 3000)),
                gpus=draw(st.integers(0, MOST_GPUS // shards if together else MOST_GPUS)),
                cost=draw(st.floats(0, 100)),
                distributed=together,
            )
        )
    targets = draw(st.sets(st.sampled_from([n.name for n in nodes]), min_size=1))
    return Graph.of(nodes, targets)


capacities = st.builds(
    Capacity,
    cpus=st.integers(1, 4),
    memory_mib=st.integers(0, 4000),
    processes=st.none() | st.integers(1, 4),
    gpus=st.sampled_from([("a", "b"), ("a", "b", "c"), ("a", "b", "c", "d")]),
)


def check_fits(graph: Graph, running: set[Task], capacity: Capacity) -> None:
    nodes = [graph.nodes[task.stage] for task in running]
    assert sum(n.gpus for n in nodes) <= len(capacity.gpus)
    # A stage that runs together counts as one, and as no more than the whole machine.
    memory = cpus = processes = 0
    for stage in {task.stage for task in running}:
        node, tasks = graph.nodes[stage], sum(task.stage == stage for task in running)
        most_memory, most_cpus = capacity.memory_mib, capacity.cpus
        of_stage = (
            tasks * min(node.memory_mib, most_memory),
            tasks * min(node.cpus, most_cpus),
            tasks,
        )
        if node.distributed:
            most = (most_memory, most_cpus, capacity.processes or tasks)
            of_stage = tuple(map(min, of_stage, most))  # type: ignore[assignment]
        memory, cpus, processes = memory + of_stage[0], cpus + of_stage[1], processes + of_stage[2]
    if len(running) > 1:
        assert memory <= capacity.memory_mib
        if capacity.processes is None:
            assert cpus <= capacity.cpus
    if capacity.processes is not None:
        assert processes <= capacity.processes


@settings(max_examples=300, deadline=None)
@given(graphs(), capacities, st.booleans(), st.integers(0, 2), st.randoms())
def test_any_run_keeps_the_rules_and_ends(
    graph: Graph, capacity: Capacity, keep_going: bool, retries: int, chance: Random
) -> None:
    """Processes end in any order and in any way, other runs commit or hold stages: the rules hold throughout."""
    ledger = Ledger(graph, retries=retries, keep_going=keep_going)
    starts = 0
    while not ledger.is_over():
        finished_before = frozenset(ledger.committed), frozenset(ledger.failed)
        held_elsewhere: set[str] = set()
        chosen = ledger.next_tasks(capacity)
        for task in chosen:
            node = graph.nodes[task.stage]
            if node.distributed:  # all or none
                assert {other for other in chosen if other.stage == task.stage} == set(node.tasks())
            assert task not in ledger.running
            assert task.stage not in ledger.committed | ledger.failed
            assert all(need in ledger.committed for need in graph.nodes[task.stage].needs)
            assert keep_going or not ledger.failed
            if (chance.random() < 0.1 and not (node.distributed and task.shard)) or task.stage in held_elsewhere:
                if node.distributed:
                    held_elsewhere.add(task.stage)
                ledger.wait_for_other_run(task)
            else:
                ledger.start(task)
                starts += 1
        check_fits(graph, ledger.running, capacity)
        if ledger.running:
            task = chance.choice(sorted(ledger.running))
            last = ledger.ended | {task} >= set(graph.nodes[task.stage].tasks())
            code = chance.choice([0, 0, 0, 1, EXIT_BAD_INPUT, -9])
            committed = code == 0 and last and chance.random() < 0.9
            survives = task in ledger.survivors()
            after = ledger.end(task, code, committed=committed)
            if code == EXIT_BAD_INPUT:  # never tried again; of those that run together said once
                said = survives and task.stage in finished_before[1]
                assert after is (After.ENDED if said else After.FAILED)
            elif survives and not committed:
                assert after is After.ENDED  # the first to fail has spoken for all
        elif ledger.elsewhere:
            task = chance.choice(sorted(ledger.elsewhere))
            if chance.random() < 0.5:
                ledger.commit(task.stage)
            else:
                ledger.other_run_left(task)
        else:
            raise AssertionError("not over, yet nothing runs and nothing is waited for")
        assert finished_before[0] <= ledger.committed
        assert finished_before[1] <= ledger.failed
    assert starts <= sum(n.shards for n in graph.nodes.values()) * (retries + 1) * 3
    assert all(attempts <= retries + 1 + graph.nodes[task.stage].shards for task, attempts in ledger.attempts.items())
    if not ledger.failed:
        assert not ledger.outstanding
        assert graph.targets <= ledger.committed
    elif keep_going:
        assert ledger.outstanding <= ledger.failed | ledger.blocked


@given(graphs(), st.data())
def test_only_what_a_target_needs_is_outstanding(graph: Graph, data: st.DataObject) -> None:
    committed = frozenset(data.draw(st.sets(st.sampled_from(sorted(graph.nodes)))))
    found = outstanding(graph, committed)
    assert not found & committed
    assert graph.targets - committed <= found
    for name in found - graph.targets:
        assert any(name in graph.nodes[other].needs for other in found)


def test_the_longest_chain_starts_first() -> None:
    graph = Graph.of(
        [
            Node("short", cost=5),
            Node("long-a", cost=1),
            Node("long-b", needs=("long-a",), cost=100),
            Node("end", needs=("short", "long-b")),
        ]
    )
    assert to_start(graph, ScheduleState(), Capacity(1, 9999)) == [Task("long-a", 0)]
    assert to_start(graph, ScheduleState(), Capacity(2, 9999)) == [Task("long-a", 0), Task("short", 0)]


def test_memory_limits_and_a_stage_larger_than_the_machine_runs_alone() -> None:
    graph = Graph.of([Node("big", memory_mib=9000, cpus=8, cost=2), Node("small", memory_mib=100)])
    assert to_start(graph, ScheduleState(), Capacity(4, 4000)) == [Task("big", 0)]
    assert to_start(graph, ScheduleState(running=frozenset({Task("small", 0)})), Capacity(4, 4000)) == []
    assert to_start(graph, ScheduleState(), Capacity(4, 4000, processes=9)) == [Task("big", 0)]


def test_processes_replace_the_limit_by_cores() -> None:
    graph = Graph.of([Node(f"s{i}", cpus=2) for i in range(5)])
    assert len(to_start(graph, ScheduleState(), Capacity(2, 99999))) == 1
    assert len(to_start(graph, ScheduleState(), Capacity(2, 99999, processes=3))) == 3


def test_a_failure_blocks_what_stands_on_it_and_nothing_else() -> None:
    graph = Graph.of([Node("a"), Node("b"), Node("c", needs=("a",)), Node("d", needs=("c",)), Node("e", needs=("b",))])
    assert blocked(graph, frozenset({"a"})) == {"c", "d"}
    state = ScheduleState(committed=frozenset({"b"}), failed=frozenset({"a"}))
    assert to_start(graph, state, Capacity(4, 9999), keep_going=True) == [Task("e", 0)]
    assert to_start(graph, state, Capacity(4, 9999)) == []


def test_inputs_of_a_committed_stage_are_not_made_again() -> None:
    graph = Graph.of([Node("a"), Node("b", needs=("a",)), Node("c", needs=("b",))], ["c"])
    assert outstanding(graph, frozenset({"b"})) == {"c"}
    assert outstanding(graph, frozenset({"c"})) == frozenset()


def test_all_shards_well_but_no_manifest_is_tried_again_and_then_fails() -> None:
    ledger = Ledger(Graph.of([Node("a", shards=2)]), retries=1)
    for expected in (After.RETRY, After.FAILED):
        for task in ledger.next_tasks(Capacity(2, 9999)):
            ledger.start(task)
        assert ledger.end(Task("a", 0), 0, committed=False) is After.ENDED
        assert ledger.end(Task("a", 1), 0, committed=False) is expected
    assert ledger.is_over()


def test_tasks_that_run_together_fail_as_one_and_start_again_as_one() -> None:
    ledger = Ledger(Graph.of([Node("a", shards=3, distributed=True)]), retries=1)
    tasks = [Task("a", shard) for shard in range(3)]
    for code, after in ((1, After.RETRY), (-9, After.FAILED)):
        assert ledger.next_tasks(Capacity(3, 9999)) == tasks
        for task in tasks:
            ledger.start(task)
        assert not ledger.survivors()
        assert ledger.end(tasks[1], 0, committed=False) is After.ENDED  # its part was done
        assert ledger.end(tasks[2], code, committed=False) is after
        assert ledger.survivors() == tasks[:1]
        assert not ledger.next_tasks(Capacity(3, 9999)), "one of them is still there"
        assert ledger.end(tasks[0], -9, committed=False) is After.ENDED
    assert ledger.is_over()


def test_a_refusal_counts_also_where_another_node_broke_first() -> None:
    ledger = Ledger(Graph.of([Node("a", shards=2, distributed=True)]), retries=9)
    for shard in range(2):
        ledger.start(Task("a", shard))
    assert ledger.end(Task("a", 0), 1, committed=False) is After.RETRY
    assert ledger.end(Task("a", 1), EXIT_BAD_INPUT, committed=False) is After.FAILED
    assert ledger.is_over()


def test_a_stopped_run_starts_nothing_and_ends_with_its_last_process() -> None:
    ledger = Ledger(Graph.of([Node("a"), Node("b")]))
    ledger.start(Task("a", 0))
    ledger.stopping = True
    assert ledger.next_tasks(Capacity(2, 9999)) == []
    assert not ledger.is_over()
    assert ledger.end(Task("a", 0), -15, committed=False) is After.STOPPED
    assert ledger.is_over()
    assert not ledger.failed
