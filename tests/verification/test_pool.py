"""The worker processes: started late, replaced when killed, ended with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from misstep.terms.verdict import Judgement, Verdict
from misstep.verification.extract import AnswerFormat
from misstep.verification.pool import WorkerPool
from misstep.verification.verifier import Verifier
from tests.eventually import eventually
from tests.verification.timing import allowed

SERVICES = str(Path(__file__).parents[2] / "services")
TOWER = "9^{9^{9^{9}}}"


def symbolic(n: int) -> tuple[str, str]:
    """A pair that needs algebra, and no two alike."""
    return rf"\boxed{{(x+{n})^2}}", f"x^2+{2 * n}x+{n * n}"


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_numbers_and_words_never_start_a_process() -> None:
    before = family(os.getpid())
    with Verifier(AnswerFormat.AUTO, workers=4) as verifier:
        for response, gold in [
            ("#### 18", "18"), ("#### 17", "18"), (r"\boxed{\frac12}", "0.5"), (r"\boxed{(1,2)}", "(1,3)"),
            (r"\boxed{\text{even}}", r"\text{odd}"), (r"\boxed{x+1}", "x+1"), ("I do not know", "18"),
        ]:  # fmt: skip
            verifier.judge_one(response, gold)
        assert verifier.parse_gold("1,250")
        assert not verifier.symbolic_started
    assert family(os.getpid()) == before


def test_importing_the_verifier_imports_no_algebra() -> None:
    code = (
        "import sys, misstep.verification.verifier; sys.exit(any(m in sys.modules for m in ('sympy', 'math_verify')))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": SERVICES}).returncode == 0


def test_results_come_in_input_order_and_items_are_taken_as_needed() -> None:
    taken = 0

    def items() -> object:
        nonlocal taken
        for n in range(6000):
            taken += 1
            yield symbolic(n % 40 + 1) if n % 100 == 0 else (f"\\boxed{{{n}}}", str(n + n % 2))

    with Verifier(AnswerFormat.BOXED, workers=2) as verifier:
        judged = verifier.judge(items())  # type: ignore[arg-type]
        first = [next(judged) for _ in range(3)]
        assert taken < 2000
        rest = list(judged)
    expected = [Verdict.CORRECT if n % 2 == 0 else Verdict.WRONG for n in range(6000)]
    assert [judgement.verdict for judgement in first + rest] == expected


def test_closing_ends_every_process_and_the_verifier_can_be_used_again() -> None:
    verifier = Verifier(AnswerFormat.BOXED, workers=2)
    for _ in range(2):
        before = family(os.getpid())
        assert [j.verdict for j in verifier.judge(map(symbolic, range(1, 5)))] == [Verdict.CORRECT] * 4
        started = [process for process in family(os.getpid()) if process not in before]
        assert len(started) >= 2
        verifier.close()
        verifier.close()
        assert family(os.getpid()) == before
        assert gone(started)


def test_an_abandoned_iterator_does_no_harm() -> None:
    with Verifier(AnswerFormat.BOXED) as verifier:
        judged = verifier.judge(map(symbolic, range(1, 1000)))
        assert next(judged).verdict is Verdict.CORRECT
        judged.close()  # type: ignore[attr-defined]
        assert verifier.judge_one(*symbolic(1001)).verdict is Verdict.CORRECT


@pytest.mark.no_cover
def test_a_timeout_kills_only_its_own_worker() -> None:
    with Verifier(AnswerFormat.BOXED, workers=2, timeout_seconds=1.5) as verifier:
        assert verifier.judge_one(*symbolic(1)).verdict is Verdict.CORRECT
        items = [(rf"\boxed{{{TOWER}}}", "x+1"), *map(symbolic, range(2, 12))]
        start = time.perf_counter()
        judgements = list(verifier.judge(items))
        assert time.perf_counter() - start < allowed(1.5)
    assert judgements[0] == Judgement(Verdict.TIMEOUT, TOWER, "time-limit")
    assert [judgement.verdict for judgement in judgements[1:]] == [Verdict.CORRECT] * 10


def test_a_worker_that_outgrows_its_memory_is_killed() -> None:
    pool = WorkerPool(workers=1, timeout_seconds=30.0, memory_bytes=200 << 20)
    try:
        ticket = pool.submit("answer", r"2^{2^{34}} + \sqrt{2}", "3")  # needs a gigabyte
        pool.wait(ticket)
        assert (ticket.verdict, ticket.rule) == (Verdict.TIMEOUT, "memory-limit")
        after = pool.submit("answer", "(x+1)^2", "x^2+2x+1")
        pool.wait(after)
        assert after.verdict is Verdict.CORRECT
    finally:
        pool.close()


@pytest.mark.parametrize("victim", ["worker", "dispatcher"])
def test_a_killed_process_is_replaced(victim: str) -> None:
    with Verifier(AnswerFormat.BOXED, timeout_seconds=5.0) as verifier:
        before = family(os.getpid())
        assert verifier.judge_one(*symbolic(1)).verdict is Verdict.CORRECT
        dispatcher = next(p for p in psutil.Process().children() if p not in before)
        target = dispatcher if victim == "dispatcher" else dispatcher.children()[0]
        target.kill()
        assert eventually(lambda: gone([target]))
        again = [verifier.judge_one(*symbolic(n)).verdict for n in range(2, 6)]
        assert again.count(Verdict.CORRECT) >= 3  # a task may be lost with its worker: as a timeout
        assert Verdict.WRONG not in again


def test_it_can_be_used_from_many_threads_at_once() -> None:
    with Verifier(AnswerFormat.BOXED, workers=2) as verifier, ThreadPoolExecutor(8) as threads:
        pairs = [symbolic(n) for n in range(1, 60)]
        judged = list(threads.map(lambda pair: verifier.judge_one(*pair), pairs))
        assert {judgement.verdict for judgement in judged} == {Verdict.CORRECT}
        iterators = threads.map(
            lambda start: list(verifier.judge(map(symbolic, range(start, start + 10)))), (100, 200, 300)
        )
        assert all(j.verdict is Verdict.CORRECT for judgements in iterators for j in judgements)


def test_a_thread_that_started_the_workers_may_end() -> None:
    with Verifier(AnswerFormat.BOXED) as verifier:
        thread = threading.Thread(target=lambda: verifier.judge_one(*symbolic(1)))
        thread.start()
        thread.join()
        assert verifier.judge_one(*symbolic(2)).verdict is Verdict.CORRECT


def judge_in_child(queue: multiprocessing.Queue[str]) -> None:
    with Verifier(AnswerFormat.BOXED) as verifier:
        queue.put(verifier.judge_one(*symbolic(3)).verdict.value)
        queue.put(verifier.judge_one(*symbolic(4)).verdict.value)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_it_works_in_a_daemonic_child_however_started(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=judge_in_child, args=(queue,), daemon=True)
    child.start()
    assert [queue.get(timeout=60), queue.get(timeout=60)] == ["correct", "correct"]
    child.join(30)
    assert child.exitcode == 0


PARENT = textwrap.dedent(
    r"""
    import faulthandler, signal, sys, time
    faulthandler.register(signal.SIGUSR1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    from misstep.verification.extract import AnswerFormat
    from misstep.verification.verifier import Verifier

    with Verifier(AnswerFormat.BOXED, workers=2, timeout_seconds=60.0) as verifier:
        verifier.judge_one(r"\boxed{(x+1)^2}", "x^2+2x+1")
        print("idle", flush=True)
        if sys.argv[1] == "idle":
            time.sleep(100)
        pairs = [(r"\boxed{9^{9^{9^{9}}} + %d}" % n, "x+1") for n in range(4)]
        try:
            list(verifier.judge(pairs))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    print("closed", flush=True)
    """
)


def start_parent(state: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SERVICES},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "idle\n"
    if state == "busy":
        assert eventually(lambda: len(family(parent.pid)) == 3), "a dispatcher and two workers"
    return parent, family(parent.pid)


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_parent_killed_with_sigkill_leaves_no_worker(state: str) -> None:
    parent, workers = start_parent(state)
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    assert eventually(lambda: gone(workers), 5.0)


def test_busy_workers_end_even_when_parent_and_dispatcher_are_killed_together() -> None:
    parent, processes = start_parent("idle")
    dispatcher, worker = processes[0], processes[1]
    parent.kill()
    dispatcher.kill()
    parent.wait()
    assert eventually(lambda: gone([worker]), 5.0)


def test_ctrl_c_ends_cleanly() -> None:
    parent, workers = start_parent("busy")
    parent.send_signal(signal.SIGINT)
    try:
        out, _ = parent.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        parent.send_signal(signal.SIGUSR1)  # it writes where it stands to stderr
        time.sleep(1)
        raise
    assert out.splitlines() == ["interrupted", "closed"]
    assert parent.returncode == 0
    assert gone(workers)
