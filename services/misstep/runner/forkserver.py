"""The process that stages are forked from: it imports heavy libraries once for all stages.

Run as ``python -m misstep.runner.forkserver``. It needs the standard library only, until it imports the modules that
it is given. Requests and reports are JSON messages over one SEQPACKET socket. With ``isolate`` it imports nothing, and
each child executes a fresh ``python -m misstep stage ...``.

No stage outlives its runner. The server ends when the socket closes or its parent dies, and kills the process groups of
its children, verifier workers among them. Where the server itself dies, the kernel kills every child.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from misstep.processes import die_with_parent

_PR_SET_NAME = 15
_MAX_MESSAGE = 65536


_CHILD_ENDED = {signal.SIGCHLD}


@contextlib.contextmanager
def _children_may_report() -> Iterator[None]:
    """Unblock SIGCHLD: while the server waits, and while it imports, which takes seconds in which a child may end."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _CHILD_ENDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _CHILD_ENDED)


class Server:
    """Forks a child for each request, once the modules that it needs are imported; reports starts and ends."""

    def __init__(self, link: socket.socket, entry: str, modules: list[str], isolate: bool) -> None:
        self._link = link
        self._entry = entry
        self._modules = modules
        """Modules still to be imported, in order."""
        self._isolate = isolate
        self._waiting: list[dict[str, Any]] = []
        self.children: dict[int, int] = {}
        """Running children: pid -> request id."""
        self._wake, self._waker = socket.socketpair()
        self._frozen = False

    def serve(self) -> NoReturn:
        for end in (self._wake, self._waker):
            end.setblocking(False)
        signal.signal(signal.SIGTERM, self._end_all)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, _CHILD_ENDED)
        signal.signal(signal.SIGCHLD, self.reap)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._link, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                with _children_may_report():
                    events = selector.select(0 if self._modules else None)
                for key, _ in events:
                    if key.fileobj is self._link:
                        self._receive()
                    else:
                        self._wake.recv(4096)
                self._start_waiting()
                if self._modules:
                    self._load_next()
                    self._start_waiting()

    def _receive(self) -> None:
        message = self._link.recv(_MAX_MESSAGE)
        if not message:
            self._end_all()
        self._waiting.append(json.loads(message))

    def _report(self, **message: Any) -> None:
        try:
            self._link.send(json.dumps(message).encode())
        except (BrokenPipeError, ConnectionResetError):
            self._end_all()

    def reap(self, *_: object) -> None:
        """Report the children that have ended; the handler of SIGCHLD, which may interrupt itself."""
        for pid in list(self.children):  # never waits for any child: imported modules start processes of their own
            try:
                ended, status, usage = os.wait4(pid, os.WNOHANG)
            except ChildProcessError:  # this handler, called inside itself, has waited for it
                continue
            if ended:
                self._report(
                    id=self.children.pop(pid),
                    code=os.waitstatus_to_exitcode(status),
                    at=time.monotonic(),
                    cpu_seconds=round(usage.ru_utime + usage.ru_stime, 3),
                )

    def _start_waiting(self) -> None:
        still = set(self._modules)
        for request in list(self._waiting):
            if self._isolate or request["fresh"] or still.isdisjoint(request["modules"]):
                self._waiting.remove(request)
                self._start(request)

    def _load_next(self) -> None:
        asked = {module for request in self._waiting for module in request["modules"]}
        module = next((m for m in self._modules if m in asked), self._modules[0])
        began = time.monotonic()
        try:
            with _children_may_report():
                importlib.import_module(module)
            error = None
        except Exception as problem:  # noqa: BLE001 (the stage that needs it reports the error in its own log)
            error = f"{type(problem).__name__}: {problem}"
            if not isinstance(problem, ModuleNotFoundError):
                traceback.print_exc()
        self._modules.remove(module)
        left = len(self._modules)
        self._report(loaded=module, error=error, seconds=round(time.monotonic() - began, 3), left=left)

    def _start(self, request: dict[str, Any]) -> None:
        threads = [] if self._isolate or request["fresh"] else threads_started()
        if threads:
            self._isolate = True
            self._report(unsafe=threads)
        if not self._frozen and not self._modules:
            gc.freeze()  # imported objects are never garbage; without this, each child would copy their pages
            self._frozen = True
        sys.stdout.flush()
        sys.stderr.flush()
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._child(request, server)
        with contextlib.suppress(PermissionError, ProcessLookupError):  # the child has done it already
            os.setpgid(pid, pid)
        self.children[pid] = request["id"]
        self._report(id=request["id"], pid=pid, at=time.monotonic())

    def _child(self, request: dict[str, Any], server: int) -> NoReturn:
        code = 1
        try:
            os.setpgid(0, 0)
            die_with_parent(signal.SIGKILL, server)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _CHILD_ENDED)
            for end in (self._link, self._wake, self._waker):
                end.close()
            _redirect(request["log"])
            os.environ.update(request["env"])
            argv = request["argv"]
            if self._isolate or request["fresh"]:
                command = [sys.executable, "-P", "-m", "misstep", "stage", *argv]
                os.execv(sys.executable, command)  # noqa: S606 (no shell is wanted)
            ctypes.CDLL(None).prctl(_PR_SET_NAME, request["title"].encode()[:15])
            sys.argv = ["misstep", "stage", *argv]
            _set_threads(int(request["env"]["OMP_NUM_THREADS"]))
            code = _call(self._entry, argv)
        except BaseException:  # noqa: BLE001 (the process ends here: the error goes to its log)
            traceback.print_exc()
        finally:
            _leave(code)

    def _end_all(self, *_: object) -> NoReturn:
        for pid in list(self.children):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        os._exit(0)


_HARMLESS_THREADS = {"jemalloc_bg_thd"}
"""Threads that their library starts again after a fork (pyarrow's allocator)."""


def threads_started() -> list[str]:
    """Return the names of threads, beside the main one, that a forked child would lack."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        if task.name != str(os.getpid()):
            with contextlib.suppress(FileNotFoundError):  # it has ended since it was listed
                names.append((task / "comm").read_text().strip())
    return [name for name in names if name not in _HARMLESS_THREADS]


def _redirect(log: str) -> None:
    with Path(log).open("ab", buffering=0) as file, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _set_threads(count: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)  # torch read the environment when it was imported, before this fork


def _call(entry: str, argv: list[str]) -> int:
    module, _, function = entry.partition(":")
    try:
        return int(getattr(importlib.import_module(module), function)(argv) or 0)
    except SystemExit as leave:
        if leave.code is None or isinstance(leave.code, int):
            return leave.code or 0
        sys.stderr.write(f"{leave.code}\n")
        return 1


def _leave(code: int) -> NoReturn:
    """End a forked child: run its own exit handlers, and not those of the server."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main(argv: list[str]) -> NoReturn:
    """Serve on the socket that ``argv`` describes, as a JSON object with fd, parent, entry, modules and isolate."""
    given = json.loads(argv[0])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(signal.SIGTERM, given["parent"])
    Server(socket.socket(fileno=given["fd"]), given["entry"], given["modules"], given["isolate"]).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
