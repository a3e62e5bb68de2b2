"""The executor with real processes, the real fork server, the real stage shell and a store on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from misstep.artifacts.manifest import read_manifest
from misstep.artifacts.watch import StoreWatch
from misstep.plan.planner import Plan
from misstep.runner.events import Event
from misstep.runner.executor import Executor
from misstep.runner.locks import ShardLocks
from misstep.runner.run import Outcome, Result, Settings
from misstep.runner.schedule import Capacity, graph_of
from misstep.runner.workdir import Workdir
from misstep.store.open import open_store
from tests.eventually import eventually
from tests.runner.entries import Do, plan_of, stage
from tests.runner.processes import told_of

ENTRY = "tests.runner.entries:main"


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.react: Callable[[Event], None] = lambda event: None

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.react(event)

    def on_tick(self, at: float) -> None: ...
    def close(self) -> None: ...

    def stages(self, what: str) -> list[str | None]:
        return [event.stage for event in self.events if event.what == what]


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "scratch"))


def execute(plan: Plan, folder: Path, heard: Heard | None = None, **settings: object) -> Outcome:
    settings = {"capacity": Capacity(2, 10_000), "entry": ENTRY, "poll_seconds": 0.1, **settings}
    workdir = Workdir(folder / "work")
    workdir.create()
    store = open_store(plan.stages[0].storage)
    return Executor(plan, graph_of(plan), StoreWatch(store), workdir, [heard or Heard()], Settings(**settings)).run()  # type: ignore[arg-type]


def committed(plan: Plan, name: str) -> bool:
    found = plan.stage(name)
    return read_manifest(open_store(found.storage), found.key) is not None


def diamond(folder: Path, **middle: object) -> Plan:
    store = folder / "store"
    first = stage("first", store)
    left = stage("left", store, [first], **middle)  # type: ignore[arg-type]
    right = stage("right", store, [first], milliseconds=50, blocks=4, shards=2)
    return plan_of(first, left, right, stage("last", store, [left, right]))


@pytest.mark.no_cover
def test_a_plan_runs_to_its_end_and_then_there_is_nothing_to_do(tmp_path: Path) -> None:
    plan, heard = diamond(tmp_path), Heard()
    assert execute(plan, tmp_path, heard).result is Result.DONE
    assert all(committed(plan, s.name) for s in plan.stages)
    order = heard.stages("stage-committed")
    assert order in (["first", "left", "right", "last"], ["first", "right", "left", "last"])
    assert len(heard.stages("shard-started")) == 5
    assert "block 3 of right" in (tmp_path / "work" / "logs" / "right.1.log").read_text()

    again = Heard()
    began = time.monotonic()
    assert execute(plan, tmp_path, again).result is Result.NOTHING_TO_DO
    assert time.monotonic() - began < 0.5  # no server is started, nothing heavy imported
    assert again.stages("shard-asked") == []


def test_bad_input_is_not_tried_again_and_says_how_to_go_on(tmp_path: Path) -> None:
    plan, heard = diamond(tmp_path, do=Do.BAD_INPUT), Heard()
    outcome = execute(plan, tmp_path, heard)
    missing = 2 + (not committed(plan, "right"))
    assert (outcome.result, outcome.left, outcome.blocked) == (Result.FAILED, missing, ("last",))
    (failure,) = outcome.failures
    assert failure.code == 64
    assert failure.error == "column answer: none. Name the column that holds the answer."
    assert "column answer" in Path(failure.log).read_text()
    assert heard.stages("shard-retried") == []
    assert not committed(plan, "last")
    assert failure.rerun == f"misstep stage {tmp_path}/work/stages/left.json --shard 0"


def test_a_crash_is_tried_again_from_where_it_was(tmp_path: Path) -> None:
    plan, heard = diamond(tmp_path, do=Do.CRASH_ONCE), Heard()
    assert execute(plan, tmp_path, heard).result is Result.DONE
    (retried,) = [event for event in heard.events if event.what == "shard-retried"]
    assert (retried.stage, retried.detail["error"]) == ("left", "RuntimeError: once is enough")


def test_keep_going_runs_what_does_not_need_the_failed_stage(tmp_path: Path) -> None:
    store = tmp_path / "store"
    bad = stage("bad", store, do=Do.CRASH)
    one = stage("one", store, milliseconds=300)
    two = stage("two", store, [one])
    plan = plan_of(bad, one, two, stage("last", store, [bad, two]))
    stopped = execute(plan, tmp_path, retries=0)
    assert stopped.result is Result.FAILED
    assert committed(plan, "one")  # what ran was let end
    assert not committed(plan, "two")
    going = execute(plan, tmp_path, retries=0, keep_going=True)
    assert (going.result, going.left, going.blocked) == (Result.FAILED, 2, ("last",))
    assert committed(plan, "two")


def test_a_killed_process_is_named_as_such(tmp_path: Path) -> None:
    plan = plan_of(stage("eater", tmp_path / "store", do=Do.KILL_ITSELF))
    (failure,) = execute(plan, tmp_path, retries=0).failures
    assert failure.code == -9
    assert "SIGKILL" in failure.error
    assert "memory" in failure.error


def test_a_fork_server_that_dies_costs_an_attempt_and_not_the_run(tmp_path: Path) -> None:
    plan = plan_of(stage("only", tmp_path / "store"))
    outcome = execute(plan, tmp_path, entry="tests.runner.entries:not_an_entry", retries=1)
    assert outcome.result is Result.FAILED
    assert outcome.failures[0].code == -9


def test_a_manifest_from_elsewhere_is_noticed(tmp_path: Path) -> None:
    """Another run commits a stage while ours is busy with its input: ours does not start it."""
    plan, heard = diamond(tmp_path), Heard()

    def other_run(event: Event) -> None:
        if event.what == "shard-started" and event.stage == "first":
            elsewhere = tmp_path / "elsewhere"
            elsewhere.mkdir()
            assert execute(plan_of(*plan.stages[:2]), elsewhere).result is Result.DONE

    heard.react = other_run
    assert execute(plan, tmp_path, heard).result is Result.DONE
    assert "left" not in heard.stages("shard-asked")
    assert "left" in heard.stages("stage-committed")


def test_a_stage_that_another_run_holds_is_waited_for(tmp_path: Path) -> None:
    plan, heard = diamond(tmp_path), Heard()
    left = plan.stage("left")
    locks = ShardLocks(left.storage)
    assert locks.acquire(left.key, 0)
    released: list[str] = []

    def let_go(event: Event) -> None:
        if event.what == "stage-committed" and event.stage == "right":
            assert not committed(plan, "left")
            locks.release(left.key, 0)
            released.append(left.key)

    heard.react = let_go
    assert execute(plan, tmp_path, heard).result is Result.DONE
    assert released
    assert heard.stages("shard-waiting") == ["left"]


RUN = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from misstep.plan.planner import Plan
    from tests.runner.test_executor import execute
    folder = Path(sys.argv[1])
    outcome = execute(Plan.model_validate_json((folder / "plan.json").read_text()), folder, grace_seconds=6)
    print(outcome.result.value, outcome.signal)
    """
)


def start_run(plan: Plan, folder: Path) -> subprocess.Popen[str]:
    (folder / "plan.json").write_text(plan.model_dump_json())
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder)],
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'services'}"},
        stdout=subprocess.PIPE,
        text=True,
    )


def long_run(folder: Path, do: Do = Do.WELL) -> Plan:
    store = folder / "store"
    first = stage("first", store, milliseconds=200)
    return plan_of(first, stage("long", store, [first], milliseconds=30_000, do=do))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_cleanly(tmp_path: Path, number: int) -> None:
    plan = long_run(tmp_path)
    run = start_run(plan, tmp_path)
    log = tmp_path / "work" / "logs" / "long.0.log"
    eventually(lambda: log.exists() and "block 0" in log.read_text())
    began = time.monotonic()
    run.send_signal(number)
    out, _ = run.communicate(timeout=20)
    assert time.monotonic() - began < 6
    assert out.split() == ["interrupted", str(number)]
    assert "a restart computes it again" in log.read_text()
    assert committed(plan, "first")
    eventually(lambda: not told_of(tmp_path), 2)


def test_a_stage_that_ignores_the_stop_is_killed_after_the_grace_time(tmp_path: Path) -> None:
    run = start_run(long_run(tmp_path, Do.IGNORE_SIGTERM), tmp_path)
    log = tmp_path / "work" / "logs" / "long.0.log"
    eventually(lambda: log.exists() and "block 0" in log.read_text())
    began = time.monotonic()
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=20)
    assert 6 < time.monotonic() - began < 15
    assert out.startswith("interrupted")
    eventually(lambda: not told_of(tmp_path), 2)


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    run = start_run(long_run(tmp_path, Do.IGNORE_SIGTERM), tmp_path)
    log = tmp_path / "work" / "logs" / "long.0.log"
    eventually(lambda: log.exists() and "block 0" in log.read_text())
    began = time.monotonic()
    run.send_signal(signal.SIGINT)
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=20)
    assert time.monotonic() - began < 6


@pytest.mark.parametrize("do", [Do.WELL, Do.IGNORE_SIGTERM, Do.LEAVE_A_CHILD])
def test_a_killed_runner_leaves_no_process_behind_and_a_rerun_goes_on(tmp_path: Path, do: Do) -> None:
    plan = long_run(tmp_path, do)
    run = start_run(plan, tmp_path)
    log = tmp_path / "work" / "logs" / "long.0.log"
    eventually(lambda: log.exists() and "block 0" in log.read_text())
    assert len(told_of(tmp_path)) >= 2
    run.kill()
    run.communicate()
    eventually(lambda: not told_of(tmp_path), 3)
    assert committed(plan, "first")
    heard = Heard()
    short = plan_of(plan.stage("first"), stage("long", tmp_path / "store", [plan.stage("first")]))
    assert execute(short, tmp_path, heard).result is Result.DONE
    assert heard.stages("shard-asked") == ["long"]


def test_two_runs_at_once_both_end_well(tmp_path: Path) -> None:
    plan = diamond(tmp_path, milliseconds=300, blocks=3)
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        runs.append(start_run(plan, tmp_path / name))
    for run in runs:
        out, _ = run.communicate(timeout=60)
        assert out.split()[0] in ("done", "nothing")
    for found in plan.stages:
        manifest = read_manifest(open_store(found.storage), found.key)
        assert manifest is not None
        assert json.loads(json.dumps(manifest.summary))["blocks"] == manifest.blocks
