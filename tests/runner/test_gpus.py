"""GPUs in the local runner: found, given to one process each, refused where there are too few. No GPU is needed: the
driver's list is what nvidia-smi prints, and what a process is given is read from its own environment."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from misstep.artifacts.watch import StoreWatch
from misstep.errors import BadInput
from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.runner.events import Event
from misstep.runner.executor import Executor
from misstep.runner.launch import Ended, Launcher, Report, Started
from misstep.runner.machine import capacity, gpus_listed, visible_gpus
from misstep.runner.run import Outcome, Result, Settings
from misstep.runner.schedule import Capacity, graph_of
from misstep.runner.workdir import Workdir
from misstep.store.open import open_store
from tests.eventually import eventually
from tests.runner.entries import plan_of, stage
from tests.runner.small import YAML, misstep

TWO = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-8a1f3b0e-6f1c-4f7d-9a52-0f4d5a8f2b11)
"""
CUT = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 3g.40gb     Device  0: (UUID: MIG-63feeb45-94c6-5cb9-78ea-98e9b7a5be6b)
  MIG 3g.40gb     Device  1: (UUID: MIG-97ed12a6-25a8-5d3a-8b1e-2f0f6f4a3f02)
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-8a1f3b0e-6f1c-4f7d-9a52-0f4d5a8f2b11)
"""
FIRST, SECOND = gpus_listed(TWO)


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISSTEP_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def driver(folder: Path, monkeypatch: pytest.MonkeyPatch, prints: str, code: int = 0) -> None:
    """Put a program on the path that prints what the driver's own would."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}END\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_the_drivers_list() -> None:
    assert (FIRST[:8], SECOND[:8]) == ("GPU-5c89", "GPU-8a1f")
    assert [name[:8] for name in gpus_listed(CUT)] == ["MIG-63fe", "MIG-97ed", "GPU-8a1f"]
    assert gpus_listed("") == gpus_listed("No devices were found\n") == ()


@pytest.mark.parametrize(
    ("allowed", "found"),
    [
        (None, (FIRST, SECOND)),
        ("", ()),
        ("-1", ()),
        ("1", ("1",)),
        ("1, 0", ("1", "0")),
        ("0,7,1", ("0",)),
        ("NoDevFiles", ()),
        (f"{SECOND}", (SECOND,)),
        ("GPU-8a1f3b0e", ("GPU-8a1f3b0e",)),
        ("GPU-ffff", ()),
    ],
)
def test_the_environment_narrows_the_list(tmp_path, monkeypatch, allowed, found) -> None:
    driver(tmp_path, monkeypatch, TWO)
    assert visible_gpus({} if allowed is None else {"CUDA_VISIBLE_DEVICES": allowed}) == found


def test_a_driver_that_does_not_answer_means_no_gpus(tmp_path, monkeypatch) -> None:
    driver(tmp_path, monkeypatch, "NVIDIA-SMI has failed because it couldn't communicate with the driver.\n", 9)
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == ()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == ()
    assert capacity().gpus == ()


def environment_of(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/environ").read_text()
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)


def devices_of(pid: int) -> str | None:
    """What the process sees, once it has become a program of its own."""
    try:
        eventually(lambda: b"misstep\0stage" in Path(f"/proc/{pid}/cmdline").read_bytes(), every=0.01)
        return environment_of(pid).get("CUDA_VISIBLE_DEVICES")
    except (FileNotFoundError, ProcessLookupError):
        return None


def say_devices(argv: list[str]) -> int:
    import os

    print(os.environ["CUDA_VISIBLE_DEVICES"] + "|")
    return 0


def test_a_process_without_gpus_is_forked_and_sees_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    launcher = Launcher(tmp_path / "server.log", [], entry=f"{__name__}:say_devices")
    reports: list[Report] = []
    try:
        more = {"log": tmp_path / "1.log", "error_file": tmp_path / "1.error", "threads": 1, "modules": ()}
        launcher.start(1, [], title="t", **more)

        def ended() -> bool:
            reports.extend(launcher.reports(0.1))
            return any(isinstance(report, Ended) for report in reports)

        eventually(ended, 30)
    finally:
        launcher.close()
    assert (tmp_path / "1.log").read_text() == "|\n"


def test_a_process_with_gpus_is_a_fresh_one_and_sees_exactly_these(tmp_path) -> None:
    launcher = Launcher(tmp_path / "server.log", ["xml.dom.minidom"], entry=f"{__name__}:say_devices")
    try:
        more = {"log": tmp_path / "1.log", "error_file": tmp_path / "1.error", "threads": 1, "modules": ()}
        launcher.start(1, ["nothing"], title="t", gpus=(SECOND, FIRST), **more)
        started = next(r for _ in range(30) for r in launcher.reports(1.0) if isinstance(r, Started))
        assert devices_of(started.pid) == f"{SECOND},{FIRST}"
    finally:
        launcher.close()


class Watcher:
    """Notes what each started process sees."""

    def __init__(self) -> None:
        self.seen: dict[str, str | None] = {}
        self.running: set[str] = set()
        self.overlaps: list[tuple[str, str]] = []

    def on_event(self, event: Event) -> None:
        if event.what == "shard-started":
            assert event.stage
            self.seen[event.stage] = devices_of(event.detail["pid"])
            self.running.add(event.stage)
            for one, other in combinations(sorted(self.running), 2):
                if set((self.seen[one] or "").split(",")) & set((self.seen[other] or "").split(",")):
                    self.overlaps.append((one, other))
        if event.what == "shard-ended":
            self.running.discard(str(event.stage))

    def on_tick(self, at: float) -> None: ...
    def close(self) -> None: ...


def with_gpus(made: FrozenStage, gpus: int) -> FrozenStage:
    return made.model_copy(update={"resources": made.resources.model_copy(update={"gpus": gpus})})


def execute(plan: Plan, folder: Path, gpus: tuple[str, ...], watcher: Watcher) -> Outcome:
    workdir = Workdir(folder / "work")
    workdir.create()
    watch = StoreWatch(open_store(plan.stages[0].storage))
    settings = Settings(Capacity(8, 10_000, gpus=gpus), keep_going=True, retries=0, poll_seconds=0.1)
    return Executor(plan, graph_of(plan), watch, workdir, [watcher], settings).run()


def test_stages_at_once_share_no_gpu(tmp_path) -> None:
    """The stages themselves fail: they are scores without input. What counts is what they were given."""
    plan = plan_of(*(with_gpus(stage(f"s{n}", tmp_path / "store"), 1 + (n == 4)) for n in range(5)))
    watcher = Watcher()
    outcome = execute(plan, tmp_path, ("GPU-a", "GPU-b"), watcher)
    assert outcome.result is Result.FAILED
    assert [failure.code for failure in outcome.failures] == [1] * 5, outcome.failures
    assert {watcher.seen[f"s{n}"] for n in range(4)} <= {"GPU-a", "GPU-b"}
    assert watcher.seen["s4"] in ("GPU-a,GPU-b", "GPU-b,GPU-a")
    assert not watcher.overlaps


@pytest.mark.parametrize(
    ("gpus", "fix"),
    [((), "this machine has 0: set it to 0 (slow)"), (("0",), "this machine has 1: set it to 1 or fewer")],
)
def test_more_gpus_than_there_are_is_refused_before_the_start(tmp_path, gpus, fix) -> None:
    plan = plan_of(stage("first", tmp_path / "store"), with_gpus(stage("big", tmp_path / "store"), 2))
    watcher = Watcher()
    with pytest.raises(BadInput) as refused:
        execute(plan, tmp_path, gpus, watcher)
    assert str(refused.value).startswith("spec.resources.score.gpus: 2. ")
    assert fix in str(refused.value)
    assert not watcher.seen


def test_the_command_line_refuses_or_says_that_gpus_stay_unused(tmp_path, monkeypatch) -> None:
    asking = YAML.rstrip() + "\n    sft: {gpus: 4}\n"
    (tmp_path / "small.yaml").write_text(asking)
    driver(tmp_path, monkeypatch, TWO)
    refused = misstep(tmp_path, "run", "small.yaml")
    assert refused.returncode == 64
    assert refused.stderr.startswith("error: spec.resources.sft.gpus: 4. Stage sft-d60-s0 needs so many")
    assert "this machine has 2: set it to 2 or fewer" in refused.stderr
    assert not list(tmp_path.rglob("*.log"))
    (tmp_path / "small.yaml").write_text(YAML)
    done = misstep(tmp_path, "run", "small.yaml", "--only", "problems")
    assert done.returncode == 0, done.stderr
    assert "note: no stage asks for a GPU" in done.stdout
