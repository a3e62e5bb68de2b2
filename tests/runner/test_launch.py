"""The fork server by itself."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from misstep.runner import forkserver
from misstep.runner.launch import ENTRY, Ended, Launcher, Loaded, Report, Started, Unforkable
from tests.eventually import eventually


def say_hello(argv: Sequence[str]) -> int:
    """An entry point that tells what its process is like."""
    said = {"argv": list(argv), "pid": os.getpid(), "group": os.getpgid(0), "omp": os.environ["OMP_NUM_THREADS"]}
    print(json.dumps(said))
    return int(argv[0])


def sleep_long(argv: Sequence[str]) -> int:
    time.sleep(300)
    return 0


def leave_by_exit(argv: Sequence[str]) -> int:
    raise SystemExit(7)


def raise_an_error(argv: Sequence[str]) -> int:
    raise ValueError("deep inside")


def start(launcher: Launcher, folder: Path, ident: int, argv: list[str], modules: tuple[str, ...] = ()) -> list[Report]:
    """Start one process and return all reports until it has ended."""
    launcher.start(
        ident,
        argv,
        log=folder / f"{ident}.log",
        error_file=folder / f"{ident}.error",
        threads=3,
        modules=modules,
        environment={},
        title="a title that is too long",
    )
    reports: list[Report] = []

    def ended() -> bool:
        reports.extend(launcher.reports(0.1))
        return any(isinstance(report, Ended) for report in reports)

    eventually(ended, 60)
    return reports


def open_launcher(folder: Path, function: str, modules: list[str] | None = None) -> Launcher:
    return Launcher(folder / "server.log", modules or [], entry=f"{__name__}:{function}")


def test_processes_are_their_own_and_report_their_codes(tmp_path: Path) -> None:
    launcher = open_launcher(tmp_path, "say_hello")
    try:
        pids = []
        for ident, code in enumerate([0, 64, 3]):
            reports = start(launcher, tmp_path, ident, [str(code)])
            (started,) = [report for report in reports if isinstance(report, Started)]
            (ended,) = [report for report in reports if isinstance(report, Ended)]
            assert (ended.ident, ended.code) == (ident, code)
            assert started.at <= ended.at
            said = json.loads((tmp_path / f"{ident}.log").read_text())
            assert said == {"argv": [str(code)], "pid": started.pid, "group": started.pid, "omp": "3"}
            pids.append(started.pid)
        assert len(set(pids)) == 3
    finally:
        launcher.close()


@pytest.mark.parametrize(
    ("function", "code", "logged"), [("leave_by_exit", 7, ""), ("raise_an_error", 1, "ValueError: deep inside")]
)
def test_an_entry_point_that_does_not_return_ends_its_own_process_only(
    tmp_path: Path, function: str, code: int, logged: str
) -> None:
    launcher = open_launcher(tmp_path, function)
    try:
        for ident in range(2):
            ended = start(launcher, tmp_path, ident, [])[-1]
            assert isinstance(ended, Ended)
            assert ended.code == code
            assert logged in (tmp_path / f"{ident}.log").read_text()
    finally:
        launcher.close()


def test_a_process_waits_for_its_own_modules_and_not_for_others(tmp_path: Path) -> None:
    slow = [f"tests.runner.{name}" for name in ("entries", "test_pieces")]
    launcher = open_launcher(tmp_path, "say_hello", ["json", *slow])
    try:
        reports = start(launcher, tmp_path, 1, ["0"], modules=("json", slow[0]))
        loaded = [report.module for report in reports if isinstance(report, Loaded)]
        position = next(i for i, report in enumerate(reports) if isinstance(report, Started))
        before = [report.module for report in reports[:position] if isinstance(report, Loaded)]
        assert set(before) >= {"json", slow[0]}
        assert loaded[:2] == ["json", slow[0]]
    finally:
        launcher.close()


def test_what_cannot_be_imported_is_reported_and_passed_over(tmp_path: Path) -> None:
    launcher = open_launcher(tmp_path, "say_hello", ["tests.runner.broken", "tests.runner.absent"])
    try:
        reports = start(launcher, tmp_path, 1, ["0"], modules=("tests.runner.broken",))
        errors = {report.module: report.error for report in reports if isinstance(report, Loaded)}
        assert errors["tests.runner.broken"] == "ValueError: broken on purpose"
        assert isinstance(reports[-1], Ended)
        assert reports[-1].code == 0
        assert "broken on purpose" in (tmp_path / "server.log").read_text()
    finally:
        launcher.close()


def test_a_server_with_threads_does_not_fork_stages_but_starts_them_afresh(tmp_path: Path) -> None:
    launcher = open_launcher(tmp_path, "say_hello", ["tests.runner.threaded"])
    try:
        reports = start(launcher, tmp_path, 1, ["/nowhere.json"], modules=("tests.runner.threaded",))
        assert any(isinstance(report, Unforkable) for report in reports)
        ended = reports[-1]
        assert isinstance(ended, Ended)
        assert ended.code == 64  # it was the real `misstep stage`, which found no such file
        assert "/nowhere.json" in (tmp_path / "1.error").read_text()
    finally:
        launcher.close()


def test_closing_ends_what_still_runs(tmp_path: Path) -> None:
    launcher = open_launcher(tmp_path, "sleep_long")
    launcher.start(
        1,
        [],
        log=tmp_path / "1.log",
        error_file=tmp_path / "1.error",
        threads=1,
        modules=(),
        environment={},
        title="sleeper",
    )
    (started,) = eventually(lambda: launcher.reports(0.1), 30)
    assert isinstance(started, Started)
    os.kill(started.pid, 0)
    launcher.close()
    eventually(lambda: not Path(f"/proc/{started.pid}").exists(), 5)  # only init is left to reap it


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_inside_the_handler_of_another_takes_nothing_from_it(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = forkserver.Server(theirs, ENTRY, [], False)
    for ident in range(3):
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        server.children[pid] = ident
    real = os.wait4
    inside: list[int] = []

    def wait4(pid: int, options: int) -> tuple[int, int, object]:
        if when == "after":
            found = real(pid, options)
        if not inside:
            inside.append(pid)
            server.reap()
        return found if when == "after" else real(pid, options)

    monkeypatch.setattr(os, "wait4", wait4)
    server.reap()
    assert sorted(json.loads(ours.recv(4096))["id"] for _ in range(3)) == [0, 1, 2]
    assert not server.children
    for end in (ours, theirs):
        end.close()
