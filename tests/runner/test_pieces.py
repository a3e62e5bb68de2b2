"""The parts of the runner that need no processes."""

from __future__ import annotations

import importlib.util
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from misstep.api.opening import load, make_plan
from misstep.artifacts.manifest import Manifest, Timings
from misstep.artifacts.progress import Heartbeat
from misstep.plan.kinds import StageKind
from misstep.runner import preload
from misstep.runner.display import FailureDisplay, JsonDisplay, TextDisplay, live_rows
from misstep.runner.events import Event
from misstep.runner.locks import ShardLocks
from misstep.runner.machine import cores, free_memory_mib
from misstep.runner.run_state import RunState
from misstep.runner.schedule import Task, graph_of
from misstep.runner.status import progress_text, stage_rows, summary_text
from misstep.runner.workdir import RunRecord, Workdir, last_error
from misstep.store.description import Storage
from tests.runner.entries import plan_of, stage

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", StageKind)
def test_everything_preloaded_exists(kind: StageKind) -> None:
    """A renamed module would silently be imported by each stage again."""
    for module in preload.modules_of(kind, s3=True):
        assert importlib.util.find_spec(module), module


def test_light_kinds_come_before_torch() -> None:
    order = preload.in_order(StageKind)
    assert len(order) == len(set(order))
    light = preload.modules_of(StageKind.PROBLEMS)
    assert max(order.index(module) for module in light) < order.index("torch")
    assert set(order) == {module for kind in StageKind for module in preload.modules_of(kind)}
    assert "torch" not in preload.in_order([StageKind.VERIFY, StageKind.REPORT])
    assert "botocore.session" not in order


def test_the_longest_training_of_the_quickstart_starts_first(tmp_path: Path) -> None:
    plan = make_plan(load(ROOT / "examples" / "quickstart.yaml", f"file://{tmp_path}"))
    graph = graph_of(plan)
    assert graph.targets == {one.name for one in plan.stages}
    trainings = [one.name for one in plan.stages if one.kind is StageKind.SFT]
    sizes = {name: int(name.split("-d")[1].split("-")[0]) for name in trainings}
    largest, smallest = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    assert graph.path_cost[largest] > graph.path_cost[smallest]
    # What others wait for goes before what nothing waits for but its own score.
    sampled = next(one for one in plan.stages if one.name.startswith("sample-"))
    policy = plan.by_key[sampled.inputs["policy"]].name
    assert graph.path_cost[policy] > graph.path_cost[sampled.name]


def test_cores_and_memory_respect_the_container(tmp_path: Path) -> None:
    assert cores(tmp_path) == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cores(tmp_path) == 1
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000000 kB\nMemAvailable:    4096000 kB\n")
    assert free_memory_mib(tmp_path, meminfo) == 4000
    (tmp_path / "memory.max").write_text(str(1000 * 2**20))
    (tmp_path / "memory.current").write_text(str(500 * 2**20))
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {100 * 2**20}\n")
    assert free_memory_mib(tmp_path, meminfo) == 600


def test_a_lock_holds_between_runs_and_not_between_stores(tmp_path: Path) -> None:
    one, two = (ShardLocks(Storage(uri="file:///a"), tmp_path) for _ in range(2))
    assert one.acquire("key", 0)
    assert not two.acquire("key", 0)
    assert two.acquire("key", 1)
    assert ShardLocks(Storage(uri="file:///b"), tmp_path).acquire("key", 0)
    one.release("key", 0)
    assert two.acquire("key", 0)


def beat(**given: object) -> Heartbeat:
    return Heartbeat.model_validate(
        {"shard": 0, "done": 50, "total": 200, "unit": "samples", "updated": 1000.0, **given}
    )


def test_a_heartbeat_reads_well() -> None:
    assert progress_text(None) == ""
    assert progress_text(beat()) == "50/200 samples"
    assert progress_text(beat(rate=10.0)) == "50/200 samples, 10/s, 15 s left"
    assert progress_text(beat(rate=2.5, blocks=4, blocks_done=2)) == "56%, 50/200 samples, 2.5/s, 2 min 20 s left"
    warned = beat(detail={"warning": "over-trained: 87% of own problems, 30% of others"})
    assert progress_text(warned) == "50/200 samples, over-trained: 87% of own problems, 30% of others"
    assert progress_text(beat(rate=10.0, detail={"dropped": 1200, "loss": 0.5})) == (
        "50/200 samples, 10/s, 15 s left, 1,200 rows dropped"
    )


def event(what: str, at: float, name: str | None = None, shard: int | None = None, **detail: object) -> Event:
    return Event(what, at, name, shard, detail)  # type: ignore[arg-type]


STORY = [
    event("run-started", 0, stages=3, todo=["a", "b"], committed=["c"]),
    event("shard-asked", 0.1, "a", 0, attempt=1),
    event("shard-started", 0.2, "a", 0, attempt=1, pid=1),
    event("shard-retried", 5, "a", 0, code=1, error="[odd] error"),
    event("shard-ended", 5, "a", 0, code=1, seconds=4.8, cpu_seconds=1),
    event("shard-asked", 5, "a", 0, attempt=2),
    event("shard-started", 5.1, "a", 0, attempt=2, pid=2),
    event("shard-ended", 65, "a", 0, code=0, seconds=60, cpu_seconds=1),
    event("stage-committed", 65, "a", 0, seconds=60.0, summary={"rows": 1234, "share": 0.25, "no": {"x": 1}}),
    event("shard-asked", 65, "b", 1, attempt=1),
    event("shard-started", 65, "b", 1, attempt=1, pid=3),
    event("shard-ended", 66, "b", 1, code=64, seconds=1, cpu_seconds=1),
    event("stage-failed", 66, "b", 1, code=64, error="spec.x: 1. Fix it.", log="w/b.log", rerun="misstep stage b",
          still_running=["c"]),
    event("run-ended", 66, outcome="failed", left=1, blocked=[]),
]  # fmt: skip


def run_state(beats: list[Heartbeat] | None = None) -> RunState:
    return RunState({"a": "key-a", "b": "key-b", "c": "key-c"}, lambda key: beats or [], now=lambda: 1000.0)


def test_plain_lines_tell_the_story() -> None:
    out, shown = io.StringIO(), run_state()
    display = TextDisplay(Console(file=out, width=200), shown)
    for one in STORY:
        shown.on_event(one)
        display.on_event(one)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "2 of 3 stages to run, 1 are there already",
        "  0:00 a: started",
        "  0:05 a: failed, trying again: [odd] error",
        "  0:05 a: started (attempt 2)",
        "  1:05 a: done in 1 min 00 s: rows 1,234, share 0.25  2/3",
        "  1:05 b [shard 1]: started",
        "b [shard 1]: failed (exit 64): spec.x: 1. Fix it.",
        "  log:         w/b.log",
        "  rerun alone: misstep stage b",
        "  still running: c (Ctrl-C stops them)",
    ]


def test_a_long_stage_is_mentioned_every_half_minute() -> None:
    out, shown = io.StringIO(), run_state([beat(rate=10.0)])
    display = TextDisplay(Console(file=out, width=200), shown)
    for one in STORY[:3]:
        shown.on_event(one)
        display.on_event(one)
    for at in range(1, 70):
        shown.on_tick(at)
        display.on_tick(at)
    reminders = [line.strip() for line in out.getvalue().splitlines()[2:]]
    assert reminders == ["0:31 a: 50/200 samples, 10/s, 15 s left", "1:01 a: 50/200 samples, 10/s, 15 s left"]


def test_an_earlier_run_s_heartbeat_is_not_this_run_s() -> None:
    shown = run_state([beat(updated=990.0)])
    for one in STORY[:3]:
        shown.on_event(one)
    shown.on_tick(2.0)
    assert shown.running[Task("a", 0)].heartbeat is None


def test_live_rows_show_what_runs() -> None:
    out, shown = io.StringIO(), run_state([beat(rate=10.0)])
    for one in STORY[:3]:
        shown.on_event(one)
    shown.on_event(event("shard-asked", 0.2, "b", 1, attempt=1))
    shown.on_tick(2.0)
    Console(file=out, width=120).print(live_rows(shown))
    text = out.getvalue()
    assert "50/200 samples, 10/s, 15 s left" in text
    assert "b [shard 1]" in text
    assert "waiting for its libraries to load" in text
    assert "1/3 stages, 2.0 s" in text


def test_json_lines_are_the_events_and_the_progress() -> None:
    out, shown = io.StringIO(), run_state([beat(rate=10.0)])
    display = JsonDisplay(out, shown)
    for one in STORY[:3]:
        shown.on_event(one)
        display.on_event(one)
    shown.on_tick(6.0)
    display.on_tick(6.0)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["what"] for line in lines] == ["run-started", "shard-asked", "shard-started", "shard-progress"]
    assert lines[-1] | {"stage": "a", "shard": 0, "done": 50, "total": 200, "unit": "samples"} == lines[-1]


def test_quiet_shows_failures_alone() -> None:
    out = io.StringIO()
    display = FailureDisplay(Console(file=out, width=200))
    for one in STORY:
        display.on_event(one)
    assert out.getvalue().startswith("b [shard 1]: failed (exit 64): spec.x: 1. Fix it.")
    assert out.getvalue().count("\n") == 4


def test_figures_are_the_first_plain_ones() -> None:
    assert summary_text({"a_b": 1, "c": {"d": 1}, "e": True, "f": 0.123456, "g": "h", "i": 2, "j": 3}) == (
        "a b 1, f 0.123, g h, i 2"
    )


def test_the_record_of_a_run_is_whole_at_every_moment(tmp_path: Path) -> None:
    record = RunRecord(tmp_path / "run.json", {"experiment": "x"})
    for one in STORY:
        record.on_event(one)
        assert json.loads((tmp_path / "run.json").read_text())["events"][-1]["what"] == one.what
    assert Workdir(tmp_path).read_run() is not None
    assert json.loads((tmp_path / "run.json").read_text())["outcome"] == "failed"


def test_the_last_error_is_what_the_stage_left_else_its_log_s_last_line(tmp_path: Path) -> None:
    said, log = tmp_path / "x.error", tmp_path / "x.log"
    assert last_error(said, log) == ""
    log.write_text("old failure\nTraceback\nValueError: new\n\n")
    assert last_error(said, log) == "ValueError: new"
    assert last_error(said, log, start=log.stat().st_size) == ""
    said.write_text("spec.x: 1. Fix it.")
    assert last_error(said, log) == "spec.x: 1. Fix it."


class FakeStore:
    def __init__(self, committed: set[str], beats: dict[str, list[Heartbeat]]) -> None:
        self._committed, self._beats = committed, beats

    def committed_among(self, keys: object) -> frozenset[str]:
        return frozenset(self._committed)

    def manifests(self, keys: object) -> dict[str, Manifest]:
        summary = {"rollouts": 1200, "prefill_tokens": 900, "cached_prefill_tokens": 300}
        return {
            key: Manifest.model_construct(key=key, summary=summary, timings=Timings(seconds=12.0, blocks=(12.0,)))
            for key in self._committed
        }

    def heartbeats(self, key: str) -> list[Heartbeat]:
        return self._beats.get(key, [])


def test_status_tells_done_running_failed_and_waiting(tmp_path: Path) -> None:
    first = stage("first", tmp_path)
    running, failed, ready = (stage(name, tmp_path, [first]) for name in ("running", "failed", "ready"))
    last = stage("last", tmp_path, [running, failed])
    plan = plan_of(first, running, failed, ready, last)
    store = FakeStore({first.key}, {running.key: [beat()], ready.key: [beat(updated=900.0)]})
    run = {
        "pid": 0,
        "outcome": "failed",
        "events": [
            {"what": "shard-ended", "stage": "failed", "shard": 0, "seconds": 3.0, "at": 3},
            {"what": "stage-failed", "stage": "failed", "shard": 0, "error": "no luck", "at": 3},
        ],
    }
    rows = {row.stage: (row.state, row.took, row.detail) for row in stage_rows(plan, store, run, now=1010.0)}
    assert rows == {
        "first": (
            "done",
            "12 s",
            "rollouts 1,200, 33% of prompts cached",
        ),
        "running": ("running", "", "50/200 samples"),
        "failed": ("failed", "3.0 s", "no luck"),
        "ready": ("waiting", "", "ready to run"),
        "last": ("waiting", "", "for failed, running"),
    }
