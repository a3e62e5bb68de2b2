"""Start and watch stage processes through the fork server."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from misstep.errors import MisstepError

ENTRY = "misstep.stages.main:main"
_MAX_MESSAGE = 65536


@dataclass(frozen=True)
class Started:
    """A requested process has started."""

    ident: int
    pid: int
    at: float
    """By ``time.monotonic()``, which is the same for all processes of a machine."""


@dataclass(frozen=True)
class Ended:
    """A process has ended."""

    ident: int
    code: int
    """Exit code, or minus the signal that killed it."""
    at: float
    cpu_seconds: float


@dataclass(frozen=True)
class Loaded:
    """The fork server has imported a module, or could not."""

    module: str
    seconds: float
    left: int
    error: str | None


@dataclass(frozen=True)
class Unforkable:
    """Imported modules have started threads, which a forked process would lose: stages start as fresh processes."""

    threads: list[str]


@dataclass(frozen=True)
class ServerGone:
    """The fork server died, and with it every process that it had started."""


Report = Started | Ended | Loaded | Unforkable | ServerGone


class Launcher:
    """Starts processes through one fork server. Not thread-safe. Create it in the main thread: the kernel ends the
    server when the thread ends that created it."""

    def __init__(self, log: Path, modules: list[str], *, isolate: bool = False, entry: str = ENTRY) -> None:
        self._link, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.setblocking(False)
        given = {
            "fd": other.fileno(),
            "parent": os.getpid(),
            "entry": entry,
            "modules": [] if isolate else modules,
            "isolate": isolate,
        }
        with other, log.open("ab") as output:
            self._server = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                [sys.executable, "-P", "-m", "misstep.runner.forkserver", json.dumps(given)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                pass_fds=[other.fileno()],
                start_new_session=True,
            )
        self._pids: dict[int, int] = {}

    def fileno(self) -> int:
        return self._link.fileno()

    def start(
        self,
        ident: int,
        argv: list[str],
        *,
        log: Path,
        error_file: Path,
        threads: int,
        modules: tuple[str, ...],
        title: str,
        environment: Mapping[str, str] | None = None,
        gpus: tuple[str, ...] = (),
    ) -> None:
        """Request a process that runs the entry point.

        Args:
            ident: its number in the reports.
            argv: arguments of the entry point.
            log: its output is appended to this file.
            error_file: it leaves its last error there.
            threads: of its numeric libraries.
            modules: it is forked once these are imported.
            title: its name in lists of processes.
            environment: variables beside those of this process.
            gpus: the devices that it sees. With any it is a fresh process instead of a fork, because what libraries
                have found out about CUDA before a fork is wrong after it.
        """
        threads_text = str(threads)
        request = {
            "id": ident,
            "argv": argv,
            "log": str(log),
            "modules": modules,
            "title": title,
            "fresh": bool(gpus),
            "env": {
                "CUDA_VISIBLE_DEVICES": ",".join(gpus),
                "OMP_NUM_THREADS": threads_text,
                "MKL_NUM_THREADS": threads_text,
                "MISSTEP_TERMINATION_LOG": str(error_file),
                **(environment or {}),
            },
        }
        try:
            self._link.setblocking(True)
            self._link.send(json.dumps(request).encode())
        except (BrokenPipeError, ConnectionResetError):
            pass  # reports() returns ServerGone
        finally:
            self._link.setblocking(False)

    def reports(self, timeout: float) -> list[Report]:
        """Wait up to ``timeout`` seconds for a report, and return all that are there."""
        ready, _, _ = select.select([self._link], [], [], max(0.0, timeout))
        out: list[Report] = []
        while ready:
            try:
                message = self._link.recv(_MAX_MESSAGE)
            except BlockingIOError:
                break
            except ConnectionResetError:
                message = b""
            if not message:
                self._pids.clear()
                return [*out, ServerGone()]
            out.append(self._parse(json.loads(message)))
        return out

    def _parse(self, message: dict) -> Report:  # type: ignore[type-arg]
        if "pid" in message:
            self._pids[message["id"]] = message["pid"]
            return Started(message["id"], message["pid"], message["at"])
        if "code" in message:
            self._pids.pop(message["id"], None)
            return Ended(message["id"], message["code"], message["at"], message["cpu_seconds"])
        if "loaded" in message:
            return Loaded(message["loaded"], message["seconds"], message["left"], message["error"])
        if "unsafe" in message:
            return Unforkable(message["unsafe"])
        raise MisstepError(f"the fork server reported {message}, which this version does not know")

    def has_started(self, ident: int) -> bool:
        """Return whether a requested process has started and still runs."""
        return ident in self._pids

    def signal(self, ident: int, number: int) -> None:
        """Send a signal to a process and to all that it has started; nothing happens where it has ended already."""
        pid = self._pids.get(ident)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    def close(self) -> None:
        """Kill the server and all processes that still run."""
        self._link.close()
        try:
            self._server.wait(timeout=1)
        except subprocess.TimeoutExpired:  # it is inside a long import
            for pid in self._pids.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            self._server.kill()
            self._server.wait()


def _environment() -> dict[str, str]:
    paths = [path for path in sys.path if path]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        # One thread while importing, so that no library has a thread pool before the forks.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # Nothing that is imported before a fork may start CUDA, or remember that there is a GPU.
        "CUDA_VISIBLE_DEVICES": "",
    }
