"""How the node of processes starts a pod's process: forked, as on one machine, from a process with all imports.

A stage imports torch for longer than a small one works. A pod whose clock is wrong has a fresh process, since
libfaketime must be there from a process's first moment; and all have where somebody is to see them work.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.runner.launch import Ended, Launcher, ServerGone, Started
from misstep.runner.preload import in_order, modules_of

_TEACHERS = {StageKind.SYNTHESIZE, StageKind.CURATE}


class PodProcess:
    """The process of one pod's container, however it was started."""

    def __init__(self) -> None:
        self.pid = 0
        self.code: int | None = None
        self._began, self._ended = threading.Event(), threading.Event()

    def began(self, pid: int) -> None:
        self.pid = pid
        self._began.set()

    def ended(self, code: int) -> None:
        self.code = code
        self._began.set()
        self._ended.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Return whether it has ended, or ends within the time."""
        return self._ended.wait(seconds)

    def wait_begun(self) -> None:
        self._began.wait()

    def signal(self, number: int) -> None:
        self._began.wait()
        if not self._ended.is_set():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)


class PodProcesses:
    """Starts them. To be made in the main thread: the server of forks ends with the thread that made it."""

    def __init__(self, log: Path) -> None:
        self._launcher = Launcher(log, in_order(set(StageKind) - _TEACHERS, s3=True))
        self._lock = threading.Lock()
        self._known: list[PodProcess] = []
        threading.Thread(target=self._follow, daemon=True).start()

    def start(self, args: list[str], environment: Mapping[str, str], own: Path, clock: str = "") -> PodProcess:
        """Start a container's process.

        Args:
            args: as a pod has them: ``stage`` and the frozen stage.
            own: the pod's folder; its log goes to ``log`` there.
            clock: what ``faketime`` adds to its clock.
        """
        if clock:
            return fresh(args, environment, own, clock)
        kind = FrozenStage.model_validate_json(args[1]).kind
        with self._lock:
            self._known.append(process := PodProcess())
            self._launcher.start(
                len(self._known) - 1,
                args[1:],
                log=own / "log",
                error_file=own / "termination-log",
                threads=1,
                modules=modules_of(kind, s3=True),
                title="misstep pod",
                environment=environment,
            )
        return process

    def _follow(self) -> None:
        while True:
            with self._lock:
                for report in self._launcher.reports(0):
                    match report:
                        case Started(ident, pid, _):
                            self._known[ident].began(pid)
                        case Ended(ident, code, _, _):
                            self._known[ident].ended(code)
                        case ServerGone():
                            os._exit(1)
            time.sleep(0.03)


def fresh(args: list[str], environment: Mapping[str, str], own: Path, clock: str = "") -> PodProcess:
    """Start a container's process as `PodProcesses.start` does, from nothing."""
    wrong = []
    if clock:
        faketime = shutil.which("faketime")
        assert faketime, "no faketime: install Debian's package of this name"
        # What measures durations stays right, as it does on a machine whose clock is wrong.
        wrong = ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", faketime, "-f", clock]
    with (own / "log").open("wb") as log:
        started = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *wrong, sys.executable, "-m", "misstep", *args],
            env=dict(environment),
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=own,
        )
    process = PodProcess()
    process.began(started.pid)
    threading.Thread(target=lambda: process.ended(started.wait()), daemon=True).start()
    return process


def end(process: PodProcess, grace: float) -> None:
    """Ask a process to end, and kill it when it does not."""
    process.signal(signal.SIGTERM)
    if not process.wait(grace):
        process.signal(signal.SIGKILL)
        process.wait()
