"""Run symbolic comparisons in worker processes that can be killed.

Neither concurrent.futures nor multiprocessing is suitable: a running future cannot be cancelled, a daemonic process may
not start children, and both import the caller's main module again. Here one child process (started with exec, so it
inherits neither threads nor locks) keeps math-verify imported and forks the workers itself, see ``worker.py``. It
starts with the first submission, so callers that need no algebra do not pay for it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from misstep import telemetry
from misstep.errors import MisstepError
from misstep.terms.verdict import Verdict
from misstep.verification.worker import PATIENCE

_START_SECONDS = 120.0
_SLACK_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_SLICE_SECONDS = 1.0
_RESTARTS = 3
MAX_TEXT = 4096
"""The most characters of one text that are sent to a worker; callers refuse longer texts or send their end."""


@dataclass(eq=False)
class Ticket:
    """A comparison in progress; ``verdict`` is None until it is decided."""

    kind: str
    pred: str
    gold: str
    verdict: Verdict | None = None
    rule: str = ""


class WorkerPool:
    """Run comparisons in ``workers`` killable processes; usable from any thread.

    Args:
        workers: number of concurrent comparisons.
        timeout_seconds: wall time after which a comparison is killed with the verdict ``timeout``; longer only if it
            has had less than a quarter of that as CPU time. A worker that dies or exceeds its memory limit also gives
            ``timeout``.
        memory_bytes: resident memory above which a worker is killed; it starts with about 80 MiB.
    """

    def __init__(self, workers: int, timeout_seconds: float, memory_bytes: int = 768 << 20) -> None:
        self.workers = workers
        self.timeout_seconds = timeout_seconds
        self.memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._pending: dict[int, Ticket] = {}
        self._next_task = 0
        self._received = bytearray()
        self._restarts = 0
        self._heard = 0.0

    @property
    def started(self) -> bool:
        """Whether the worker processes are running."""
        return self._process is not None

    def submit(self, kind: str, pred: str, gold: str) -> Ticket:
        """Queue one comparison: ``answer``, ``prose`` or ``parsable`` (which uses only gold)."""
        ticket = Ticket(kind, pred[-MAX_TEXT:], gold[-MAX_TEXT:])
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._start()
            self._send(ticket)
        return ticket

    def wait(self, ticket: Ticket) -> None:
        """Return when the ticket is decided."""
        while ticket.verdict is None:
            with self._lock:
                if ticket.verdict is None:
                    self._pump()

    def close(self) -> None:
        """End all worker processes; undecided tickets become ``timeout``. May be called again."""
        with self._lock:
            if self._owner == os.getpid():
                self._stop()
            self._process = None
            for ticket in self._pending.values():
                ticket.verdict, ticket.rule = Verdict.TIMEOUT, "closed"
            self._pending.clear()
            telemetry.PENDING_COMPARISONS.set(0)

    def _start(self) -> None:
        if self._owner != os.getpid():
            # In a fork, the workers and pending comparisons belong to the original process.
            self._owner, self._pending = os.getpid(), {}
        paths = [path or str(Path.cwd()) for path in sys.path]
        command = "from misstep.verification.worker import main; main()"
        self._received.clear()
        arguments = [os.getpid(), self.workers, self.timeout_seconds, self.memory_bytes]
        self._process = subprocess.Popen(  # noqa: S603 - the interpreter that runs this, with fixed code
            [sys.executable, "-P", "-c", command, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            bufsize=0,
            start_new_session=True,  # Ctrl-C reaches only the parent, which then closes the pool
        )
        deadline = time.monotonic() + _START_SECONDS
        line = self._read_line(deadline)
        if line is None:
            self._stop()
            raise MisstepError(
                "the verifier's worker process did not start; its error is above. "
                "Is math-verify installed (pip install 'misstep[verification]')?"
            )
        self._heard = time.monotonic()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()  # then the dispatcher ends its workers and itself
        try:
            process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the dispatcher's session: itself and every worker
            process.wait()
        process.stdout.close()

    def _send(self, ticket: Ticket) -> None:
        assert self._process is not None and self._process.stdin is not None
        task, self._next_task = self._next_task, self._next_task + 1
        self._pending[task] = ticket
        telemetry.PENDING_COMPARISONS.set(len(self._pending))
        message = {"task": task, "kind": ticket.kind, "pred": ticket.pred, "gold": ticket.gold}
        data = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        self._heard = time.monotonic()
        try:
            while data:
                data = data[os.write(self._process.stdin.fileno(), data) :]
        except BrokenPipeError:
            self._restart()

    def _pump(self) -> None:
        """Read decided comparisons; restart the processes if they have ended or are silent."""
        # The dispatcher limits each comparison, so while it has work it cannot be silent for longer.
        line = self._read_line(self._heard + PATIENCE * self.timeout_seconds + _SLACK_SECONDS)
        if line is None:
            self._restart()
            return
        self._heard = time.monotonic()
        message = json.loads(line)
        ticket = self._pending.pop(message["task"], None)
        telemetry.PENDING_COMPARISONS.set(len(self._pending))
        if ticket is not None:
            ticket.rule = message.get("rule", "")
            ticket.verdict = Verdict(message["verdict"])

    def _restart(self) -> None:
        self._stop()
        if self._restarts >= _RESTARTS:
            for ticket in self._pending.values():
                ticket.verdict, ticket.rule = Verdict.TIMEOUT, "worker-died"
            self._pending.clear()
            raise MisstepError(
                f"the verifier's worker process ended {_RESTARTS + 1} times; is the machine out of memory?"
            )
        self._restarts += 1
        tickets = list(self._pending.values())
        self._pending.clear()
        self._start()
        for ticket in tickets:
            self._send(ticket)

    def _read_line(self, deadline: float) -> bytes | None:
        """The next line from the dispatcher; None if it closed its output or the deadline passed."""
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while (end := self._received.find(b"\n")) < 0:
            # Wait in short slices: Ctrl-C between Python's signal check and the system call is noticed only after the
            # call.
            while not poll.poll(1000 * _SLICE_SECONDS):
                if time.monotonic() > deadline:
                    return None
            data = os.read(pipe, 1 << 16)
            if not data:
                return None
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line
