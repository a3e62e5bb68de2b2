"""The verifier: judges responses against golds, in order."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from misstep.terms.verdict import Judgement, Verdict, check_installed
from misstep.verification.equivalence import Answer, decide, read_answer
from misstep.verification.extract import AnswerFormat, Extraction, extract_answer
from misstep.verification.gold import gold_answer, gold_list
from misstep.verification.normal import MAX_ANSWER_CHARS
from misstep.verification.pool import Ticket, WorkerPool

__all__ = ["AnswerFormat", "Judgement", "Verdict", "Verifier"]

_AHEAD = 1024
"""The most judgements that may wait for an earlier one."""
_AHEAD_PER_WORKER = 16
"""Symbolic comparisons queued per worker, so that no worker is idle."""
_REMEMBERED = 4096
_REMEMBERED_CHARS = 256


@dataclass(slots=True)
class _Undecided:
    """A response whose comparison is running in a worker."""

    extraction: Extraction
    gold: Answer
    ticket: Ticket
    gold_boxes: str = ""


class Verifier:
    """Judge responses against gold answers.

    A context manager: leaving it ends the worker processes. They start with the first comparison that needs algebra, so
    numeric answers do not need them. One object may be used from several threads.

    Args:
        answer_format: how responses state their answer.
        workers: number of concurrent symbolic comparisons, each in its own process (about 100 MB).
        timeout_seconds: wall time of one symbolic comparison, after which its verdict is ``timeout``; it gets more on a
            busy machine, if its CPU time is less than a quarter of that.
    """

    def __init__(
        self,
        answer_format: AnswerFormat = AnswerFormat.AUTO,
        workers: int = 1,
        timeout_seconds: float = 2.0,
    ) -> None:
        if workers < 1 or timeout_seconds <= 0:
            raise ValueError("workers and timeout_seconds must be positive")
        check_installed()
        self.answer_format = AnswerFormat(answer_format)
        self._pool = WorkerPool(workers, timeout_seconds)
        self._remembered: OrderedDict[tuple[str, str, str], Ticket] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; a later call starts them again."""
        self._remembered.clear()
        self._pool.close()

    @property
    def symbolic_started(self) -> bool:
        """Whether a comparison so far has needed the worker processes."""
        return self._pool.started

    def judge(self, items: Iterable[tuple[str, str]]) -> Iterator[Judgement]:
        """Judge (response, gold) pairs; yields one judgement each, in order.

        It reads ``items`` only as far ahead as the workers need, so a stream of any length needs bounded memory. A gold
        may be a bare answer or a whole GSM8K or MATH solution.
        """
        waiting: deque[Judgement | _Undecided] = deque()
        undecided, most = 0, _AHEAD_PER_WORKER * self._pool.workers
        for response, gold in items:
            entry = self._begin(response, gold)
            waiting.append(entry)
            undecided += isinstance(entry, _Undecided)
            while waiting and (isinstance(waiting[0], Judgement) or undecided >= most or len(waiting) > _AHEAD):
                first = waiting.popleft()
                undecided -= isinstance(first, _Undecided)
                yield self._finish(first)
        while waiting:
            yield self._finish(waiting.popleft())

    def judge_one(self, response: str, gold: str) -> Judgement:
        """Judge one response."""
        return self._finish(self._begin(response, gold))

    def parse_gold(self, gold: str) -> str | None:
        """Return the final answer in a gold if responses can be judged against it, else None."""
        answer = gold_answer(gold)
        if not answer or len(answer) > MAX_ANSWER_CHARS:
            return None
        read = read_answer(answer)
        if not read.key:
            return None
        if read.is_plain():
            return answer
        ticket = self._submit("parsable", "", answer)
        self._pool.wait(ticket)
        return answer if ticket.verdict is Verdict.CORRECT else None

    def _begin(self, response: str, gold: str) -> Judgement | _Undecided:
        boxes = gold_list(gold)
        gold = gold_answer(gold)
        if not gold or len(gold) > MAX_ANSWER_CHARS:
            return Judgement(Verdict.UNPARSABLE, None, "gold")
        found = extract_answer(response, self.answer_format)
        if found.answer is not None and len(found.answer) > MAX_ANSWER_CHARS:
            return Judgement(Verdict.UNPARSABLE, None, "too-long")
        target = read_answer(gold)
        if found.answer is None:
            return self._begin_prose(found, target)
        answer = found.sign + found.answer
        decision = decide(read_answer(answer), target)
        if decision is not None:
            return self._settle(found, target, *decision, boxes)
        if found.prose and found.rule != "stated":
            return self._begin_prose(found, target)
        return _Undecided(found, target, self._submit("answer", answer, target.tidied), boxes)

    def _begin_prose(self, found: Extraction, gold: Answer) -> Judgement | _Undecided:
        if not found.prose:
            return Judgement(Verdict.UNPARSABLE, None, found.rule)
        return _Undecided(found, gold, self._submit("prose", found.prose, gold.tidied))

    def _finish(self, entry: Judgement | _Undecided) -> Judgement:
        if isinstance(entry, Judgement):
            return entry
        found, ticket = entry.extraction, entry.ticket
        self._pool.wait(ticket)
        assert ticket.verdict is not None
        if ticket.verdict is Verdict.WRONG and found.rule == "boxed" and found.others:
            whole_list = self._submit("answer", found.others[0], entry.gold.tidied)
            self._pool.wait(whole_list)
            if whole_list.verdict is Verdict.CORRECT:
                return Judgement(Verdict.CORRECT, found.others[0], whole_list.rule)
        return self._settle(found, entry.gold, ticket.verdict, ticket.rule, entry.gold_boxes)

    def _settle(self, found: Extraction, gold: Answer, verdict: Verdict, rule: str, gold_boxes: str = "") -> Judgement:
        """Convert a comparison to a judgement: not ``wrong`` if another reading of response or gold is right."""
        if verdict is not Verdict.CORRECT:
            for position, other in enumerate(found.others):
                if len(other) > MAX_ANSWER_CHARS:
                    continue
                decision = decide(read_answer(other), gold)
                if decision is not None and decision[0] is Verdict.CORRECT:
                    if found.rule == "boxed" and position == 0:
                        return Judgement(Verdict.CORRECT, other, decision[1])
                    return Judgement(Verdict.UNPARSABLE, found.answer, "ambiguous")
        if verdict is Verdict.WRONG and found.all_boxes and self._may_be_list(found.all_boxes, gold):
            return Judgement(Verdict.UNPARSABLE, found.answer, "ambiguous")
        if verdict is Verdict.WRONG and gold_boxes and found.answer is not None:
            wanted = read_answer(gold_boxes[:MAX_ANSWER_CHARS])
            if self._may_be_list(found.others[0] if found.others else found.answer, wanted):
                return Judgement(Verdict.UNPARSABLE, found.answer, "gold-boxes")
        return Judgement(verdict, found.answer, rule)

    def _may_be_list(self, boxes: str, gold: Answer) -> bool:
        """Whether a response's boxes, taken together, may be a gold that is a list."""
        if gold.elements is None or len(boxes) > MAX_ANSWER_CHARS:
            return False
        decision = decide(read_answer(boxes), gold)
        if decision is None:
            ticket = self._submit("answer", boxes, gold.tidied)
            self._pool.wait(ticket)
            return ticket.verdict is not Verdict.WRONG
        return decision[0] is not Verdict.WRONG

    def _submit(self, kind: str, pred: str, gold: str) -> Ticket:
        """Queue a comparison, or join an equal one: samples of one problem repeat the same few answers."""
        key = (kind, pred, gold)
        ticket = self._remembered.get(key)
        if ticket is None:
            ticket = self._pool.submit(kind, pred, gold)
            if len(pred) + len(gold) <= _REMEMBERED_CHARS:
                self._remembered[key] = ticket
                if len(self._remembered) > _REMEMBERED:
                    self._remembered.popitem(last=False)
        return ticket
