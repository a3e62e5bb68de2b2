"""Rules that end a stage early if a teacher is not usable or not reachable, with counts and an example."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from misstep.errors import BadInput, MisstepError
from misstep.synthesis.asks import Answer, NoReply

WINDOW = 50
"""Number of latest new answers that are considered."""
MOST_UNUSABLE = 45
"""This many unusable answers among the last ``WINDOW`` end the stage."""
OUTAGE_FAILURES = 10
"""This many failed tries in a row, with no answer in between, ..."""
OUTAGE_SECONDS = 120.0
"""... over at least this time end the stage; a later run may find the endpoint up again."""


class TeacherMonitor:
    """Counts answers of one shard. Answers kept from an earlier run do not count: they say nothing about the teacher
    now.

    Its methods may be called from several threads.
    """

    def __init__(self, field: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._field, self._clock = field, clock
        self._lock = threading.Lock()
        self._recent: deque[str | None] = deque(maxlen=WINDOW)
        self._failures: Counter[str] = Counter()
        self._failing_since: float | None = None

    def usable(self, answer: Answer) -> None:
        self._note(answer, None)

    def unusable(self, answer: Answer, reason: str) -> None:
        """Raises BadInput if nearly all recent answers were unusable."""
        self._note(answer, reason)

    def answered(self) -> None:
        """Record that the endpoint has answered a request, well or badly."""
        with self._lock:
            self._failures.clear()
            self._failing_since = None

    def failed(self, reason: str, detail: str) -> None:
        """Record a try without an answer. Raises MisstepError if there was none for a long time."""
        with self._lock:
            now = self._clock()
            self._failing_since = now if self._failing_since is None else self._failing_since
            self._failures[reason] += 1
            lasted = now - self._failing_since
            if self._failures.total() >= OUTAGE_FAILURES and lasted >= OUTAGE_SECONDS:
                raise MisstepError(
                    f"{self._field}: no answer in {self._failures.total()} tries over {lasted:.0f} s "
                    f"({_counts(self._failures)}); the last: {detail}. Answers so far are kept: run again "
                    "when the endpoint is up."
                )

    def _note(self, answer: Answer, reason: str | None) -> None:
        if not isinstance(answer, NoReply) and answer.reused:
            return
        with self._lock:
            self._recent.append(reason)
            reasons = Counter(r for r in self._recent if r is not None)
        if len(self._recent) == WINDOW and reasons.total() >= MOST_UNUSABLE:
            example = answer.detail if isinstance(answer, NoReply) else " ".join(answer.text.split())
            raise BadInput(
                self._field,
                f"{reasons.total()} of its last {WINDOW} answers are unusable ({_counts(reasons)}), "
                f"for example {example[:60]!r}",
                "Use a teacher that follows instructions and solves such problems, raise teacher.maxNewTokens if "
                "answers are cut off, or check what the endpoint serves. Answers so far are kept.",
            )


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in counts.most_common())
