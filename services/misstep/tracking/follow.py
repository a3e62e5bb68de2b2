"""Logging a plan's runs into one tracker: once, or until the run that makes them has ended.

What has been logged is known by the tracker alone, which is asked when a run is opened and after every error. So there
is no second record that could differ from it, and a killed process is continued by the next one without a gap and
without a point twice. One process at a time logs an experiment into a place (``Turn``).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from misstep.errors import BadInput, MisstepError
from misstep.plan.planner import Plan
from misstep.printable import printable
from misstep.tracking.from_stages import Seen, parent_id, runs_of
from misstep.tracking.runs import Logged, Run
from misstep.tracking.tracker import Tracker

POLL_SECONDS = 2.0
"""Between two looks at a store on this machine."""
REMOTE_POLL_SECONDS = 10.0
"""Between two looks at another one: each look asks for every stage that is not done."""
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 60.0
_LONGEST_TEXT = 300


class Turn:
    """The right to log an experiment into a place, on this machine; the kernel frees it when its process dies."""

    def __init__(self, plan: Plan, tracker: Tracker) -> None:
        what = hashlib.sha256(f"{parent_id(plan)} {tracker.place}".encode()).hexdigest()[:24]
        folder = Path(tempfile.gettempdir()) / f"misstep-tracking-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = FileLock(folder / what)

    def take(self) -> bool:
        """Take it without waiting, and return whether it was free."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        self._lock.release()


class Logger:
    """Brings one tracker up to date with what has been seen of a plan."""

    def __init__(self, plan: Plan, resolved: Mapping[str, Any], tracker: Tracker) -> None:
        self._plan, self._resolved, self._tracker = plan, resolved, tracker
        self._known: dict[str, Logged] = {}
        self.rows = 0
        """Rows logged by this process."""
        self.complete = False
        """Whether the last look found all that the experiment makes, logged or not."""

    def update(self, seen: Seen) -> bool:
        """Log what is new; return whether the whole experiment is logged. Raises what the tracker raises."""
        runs = runs_of(self._plan, self._resolved, seen)
        self.complete = runs[0].finished
        for run in runs:
            self._update(run)
        return runs[0].finished

    def _update(self, run: Run) -> None:
        logged = self._known.pop(run.id, None)  # after an error the tracker says again what it has
        if logged is None:
            logged = self._tracker.open(run)
        news = logged.missing_of(run)
        if news:
            self._tracker.log(run, news)
            self.rows += len(news.rows)
        self._known[run.id] = logged.plus(news)


def follow(
    logger: Logger,
    gather: Callable[[], Seen],
    ended: Callable[[], bool],
    say: Callable[[str], None],
    patience: float,
    poll: float = POLL_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Log until the run has ended; return whether all that it made is logged.

    A tracker or a store that does not answer is tried again, at growing intervals.

    Args:
        ended: whether nothing more will be made. It is asked before each look at the store.
        patience: for how many seconds errors are still tried again after the end, or after all results are there.
        poll: seconds between two looks at the store.

    Raises:
        BadInput: the store holds what no stage has written, or cannot be used.
    """
    wait, last = _FIRST_WAIT, ""
    give_up_at: float | None = None
    while True:
        over = logger.complete or ended()
        if over and give_up_at is None:
            give_up_at = clock() + patience
        try:
            whole = logger.update(gather())
        except BadInput:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a tracker's library raises what it likes)
            said = reason_of(error)
            if said != last:
                say(f"warning: {said}; trying again")
            last = said
            if give_up_at is not None and clock() + wait > give_up_at:
                return False
            sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
            continue
        if last:
            say("again: it answers")
        wait, last = _FIRST_WAIT, ""
        if whole or over:
            return True
        sleep(poll)


def reason_of(error: BaseException) -> str:
    """Return what went wrong, in one line."""
    text = " ".join(str(error).split()) or "no reason given"
    name = "" if isinstance(error, MisstepError) else f"{type(error).__name__}: "
    return printable(f"{name}{text[:_LONGEST_TEXT]}")
