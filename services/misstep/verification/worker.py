"""The pool's process: a dispatcher that forks workers and kills those that exceed their limits.

The dispatcher imports math-verify once and then stays single-threaded, so forking it is safe and a new worker costs
milliseconds. It reads requests from its standard input and writes answers to its standard output, one JSON document per
line; only the pool, its parent, communicates with it.

Nothing outlives the parent: the dispatcher ends when its input closes or its parent changes, a worker ends when
its own pipe closes, and a busy worker whose dispatcher was killed is ended by a timer in the kernel.
"""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from misstep.terms.verdict import Verdict

ADDRESS_SPACE = 4 << 30
"""The last resort, far above the resident limit that the dispatcher watches: sympy ignores a failed allocation, and the
comparison would then return "not equal"."""
WORN = 0.5
"""A worker above this share of its memory limit is replaced after its task, so that earlier tasks do not affect later
ones."""
STARVED = 0.25
PATIENCE = 15
"""A comparison whose time is up continues until it has had this share of it as CPU time, for at most this many times
its limit: an overloaded machine must not cause a lost answer."""
_PATROL_SECONDS = 0.05
_IDLE_SECONDS = 1.0


@dataclass
class _Worker:
    pid: int
    requests: int
    answers: int
    task: int | None = None
    deadline: float = 0.0
    cpu: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def main() -> None:
    """Serve requests until the input closes.

    Arguments: the parent's process id, the number of workers, seconds per task, resident bytes per worker.
    """
    parent, limit, timeout, memory = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    requests, answers = os.dup(0), os.dup(1)
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, 0)
    os.dup2(silent, 1)  # output of libraries must not mix with the protocol
    # Import it before the first fork, so that every worker shares it.
    from misstep.verification import symbolic

    symbolic.warm_up()
    gc.freeze()  # otherwise the workers' garbage collectors would copy every page
    _write(answers, {"ready": True})
    _Dispatcher(parent, limit, timeout, memory, requests, answers).run()


def _write(pipe: int, message: dict[str, object]) -> None:
    _write_bytes(pipe, json.dumps(message).encode() + b"\n")


def _write_bytes(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


class _Dispatcher:
    def __init__(self, parent: int, limit: int, timeout: float, memory: int, requests: int, answers: int) -> None:
        self.parent, self.limit, self.timeout, self.memory = parent, limit, timeout, memory
        self.requests, self.answers = requests, answers
        self.workers: list[_Worker] = []
        self.queue: deque[bytes] = deque()
        self.received = bytearray()

    def run(self) -> None:
        try:
            while os.getppid() == self.parent:
                pipes = [self.requests, *(worker.answers for worker in self.workers)]
                readable = set(select.select(pipes, [], [], self._patience())[0])
                for worker in [w for w in self.workers if w.answers in readable]:
                    self._collect(worker)
                if self.requests in readable and not self._receive():
                    return
                self._patrol()
                self._assign()
        finally:
            for worker in list(self.workers):
                self._end(worker)

    def _patience(self) -> float:
        busy = [worker.deadline for worker in self.workers if worker.task is not None]
        if not busy:
            return _IDLE_SECONDS
        until = min(busy) - time.monotonic()
        return min(_PATROL_SECONDS, until) if until > 0 else _PATROL_SECONDS / 5

    def _receive(self) -> bool:
        data = os.read(self.requests, 1 << 16)
        self.received += data
        *lines, rest = self.received.split(b"\n")
        self.received = rest
        self.queue.extend(bytes(line) for line in lines)
        return bool(data)

    def _assign(self) -> None:
        while self.queue:
            idle = next((worker for worker in self.workers if worker.task is None), None)
            if idle is None:
                if len(self.workers) == self.limit:
                    return
                idle = self._fork()
            line = self.queue.popleft()
            idle.task = json.loads(line)["task"]
            idle.deadline = time.monotonic() + self.timeout
            idle.cpu = _cpu_seconds(idle.pid)
            try:
                _write_bytes(idle.requests, line + b"\n")
            except BrokenPipeError:
                self._give_up(idle, "worker-died")

    def _collect(self, worker: _Worker) -> None:
        data = os.read(worker.answers, 1 << 16)
        worker.received += data
        if worker.received.endswith(b"\n"):
            _write(self.answers, json.loads(worker.received))
            worker.received.clear()
            worker.task = None
            if _resident_bytes(worker.pid) > WORN * self.memory:
                self._end(worker)
        elif not data:
            self._give_up(worker, "worker-died")

    def _patrol(self) -> None:
        now = time.monotonic()
        for worker in [w for w in self.workers if w.task is not None]:
            if now >= worker.deadline and not self._starved(worker, now):
                self._give_up(worker, "time-limit")
            elif _resident_bytes(worker.pid) > self.memory:
                self._give_up(worker, "memory-limit")

    def _starved(self, worker: _Worker, now: float) -> bool:
        if now >= worker.deadline + (PATIENCE - 1) * self.timeout:
            return False
        return _cpu_seconds(worker.pid) - worker.cpu < STARVED * self.timeout

    def _give_up(self, worker: _Worker, rule: str) -> None:
        task = worker.task
        self._end(worker)
        if task is not None:
            _write(self.answers, {"task": task, "verdict": Verdict.TIMEOUT, "rule": rule})

    def _end(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        os.close(worker.requests)
        os.close(worker.answers)
        os.kill(worker.pid, signal.SIGKILL)
        os.waitpid(worker.pid, 0)

    def _fork(self) -> _Worker:
        request_out, request_in = os.pipe()
        answer_out, answer_in = os.pipe()
        pid = os.fork()
        if pid == 0:
            # An inherited pipe end would keep another worker alive after the dispatcher has ended.
            for pipe in (request_in, answer_out, self.requests, self.answers):
                os.close(pipe)
            for brother in self.workers:
                os.close(brother.requests)
                os.close(brother.answers)
            _work(request_out, answer_in, self.timeout)
        os.close(request_out)
        os.close(answer_in)
        worker = _Worker(pid, request_in, answer_out)
        self.workers.append(worker)
        return worker


def _cpu_seconds(pid: int) -> float:
    try:
        # Fields 14 and 15, counted after the command, which may contain spaces.
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return math.inf  # no /proc here: unknown, so no worker counts as starved
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0  # no /proc here, or the worker has just ended: the address-space limit still holds
    return pages * resource.getpagesize()


def _work(requests: int, answers: int, timeout: float) -> None:
    """Answer requests until the pipe closes; never returns."""
    try:
        os.dup2(0, 2)  # the parser reports syntax errors there
        for alarm in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(alarm, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(ADDRESS_SPACE, hard)
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
        received = b""
        while data := os.read(requests, 1 << 16):
            received += data
            if not received.endswith(b"\n"):
                continue
            # End this process even inside a C function, in case the dispatcher has ended.
            signal.setitimer(signal.ITIMER_REAL, PATIENCE * timeout + 1.0)
            signal.setitimer(signal.ITIMER_PROF, timeout + 1.0)
            _write(answers, _answer(json.loads(received)))
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            received = b""
    finally:
        os._exit(0)


def _answer(request: dict[str, str]) -> dict[str, object]:
    from misstep.verification import symbolic

    answer: dict[str, object] = {"task": request["task"]}
    try:
        if request["kind"] == "parsable":
            return answer | {"verdict": Verdict.CORRECT if symbolic.parsable(request["gold"]) else Verdict.UNPARSABLE}
        judge = symbolic.compare_prose if request["kind"] == "prose" else symbolic.compare
        verdict, rule = judge(request["pred"], request["gold"])
        return answer | {"verdict": verdict, "rule": rule}
    except MemoryError:
        os._exit(1)  # nothing can be trusted after this: the dispatcher reports a timeout
    except Exception as error:  # noqa: BLE001 - the edge of a process, see below
        # sympy may raise almost any error for meaningless expressions.
        return answer | {"verdict": Verdict.UNPARSABLE, "rule": f"error-{type(error).__name__}"}
