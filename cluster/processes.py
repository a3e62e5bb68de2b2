"""Background programs: each has a log, and a list on disk allows another process to end them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from cluster.places import ClusterError

LIST = "processes.json"
END_SECONDS = 30


class Processes:
    """The programs of one cluster.

    Args:
        state: folder of the cluster; logs go to ``logs/`` in it.
        follow: whether the kernel kills the programs when the process that started them ends.
    """

    def __init__(self, state: Path, *, follow: bool) -> None:
        self.state = state
        self.follow = follow
        self._running: dict[str, psutil.Popen] = {}
        (state / "logs").mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str | Path]) -> psutil.Popen:
        """Start a program and add it to the list; without proxy settings, since proxies do not lead to the cluster."""
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        follow = ["setpriv", "--pdeathsig", "KILL"] if self.follow else []
        with self.log(name).open("wb") as log:
            process = psutil.Popen(
                [*follow, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=Path(__file__).parents[1],
                env=environment,
            )
        self._running[name] = process
        others = [(other, before) for other, before in running(self.state) if other != name]
        listed = [[known, each.pid, each.create_time()] for known, each in [*others, (name, process)]]
        (self.state / LIST).write_text(json.dumps(listed))
        return process

    def log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        """Return once ``ready`` is true; raise ClusterError if a program ends or the time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            for name, process in self._running.items():
                if process.poll() is not None:
                    tail = "\n".join(self.log(name).read_text(errors="replace").splitlines()[-20:])
                    raise ClusterError(f"{name} ended with code {process.returncode}; its log ends:\n{tail}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{what}: not within {seconds:.0f} s; logs are in {self.state / 'logs'}")
            time.sleep(0.1)


def end(state: Path) -> None:
    """Kill the programs that ``state`` lists and return once they have ended.

    They are killed at once, since a graceful end gains nothing: an API server would wait a minute for open watches. A
    node's first process is a child of the listed one, and ends only when all processes in its namespace have ended.
    """
    dying = []
    for _, process in running(state):
        with contextlib.suppress(psutil.NoSuchProcess):
            dying += [*process.children(), process]
    for process in dying:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + END_SECONDS
    while alive := [process for process in dying if lives(process)]:
        if time.monotonic() > deadline:
            raise ClusterError(f"these do not end: {alive}")
        time.sleep(0.02)
    (state / LIST).unlink(missing_ok=True)


def kill(state: Path, name: str) -> list[str]:
    """Kill one program, wait for its end, and return the command that started it."""
    process = dict(running(state))[name]
    command = process.cmdline()
    process.kill()
    while lives(process):
        time.sleep(0.02)
    return command


def lives(process: psutil.Process) -> bool:
    """Whether a process is still running; a zombie, which its parent may reap only after seconds, counts as ended."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def running(state: Path) -> list[tuple[str, psutil.Process]]:
    """Return name and process of the listed programs that still run, in the order of their start."""
    found = []
    for name, pid, created in json.loads((state / LIST).read_text()) if (state / LIST).exists() else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            # A different start time: the id has been reused by another process.
            if process.create_time() == created and lives(process):
                found.append((name, process))
    return found
