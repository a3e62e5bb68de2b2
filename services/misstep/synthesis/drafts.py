"""How one problem is made: its requests, one after another, and the use of their answers.

A recipe is a generator: it yields requests, receives their answers, and returns a Draft. It does not know what executes
the requests (an endpoint or an engine). There is no I/O except the verifier's.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from misstep.plan.params import SynthesizeParams
from misstep.problems.raw import normalised
from misstep.synthesis import prompts
from misstep.synthesis.asks import Answer, AnswerMonitor, Ask, NoReply, Reply
from misstep.synthesis.parse import question_in, verdict_in
from misstep.synthesis.solutions import Solution, read_solution, vote
from misstep.terms.verdict import Verdict
from misstep.verification.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Seed:
    """A problem to start from."""

    problem_id: str
    question: str
    gold: str


@dataclass(slots=True)
class Draft:
    """One row of ``drafts``: the teacher's answers and the result. ``reason`` is None if it is kept."""

    seed_id: str
    draft: int
    written: str | None = None
    checked: str | None = None
    question: str | None = None
    repaired: bool = False
    solutions: list[str] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    votes: int = 0
    gold: str | None = None
    solution: str | None = None
    reason: str | None = None


Recipe = Generator[list[Ask], Sequence[Answer], Draft]


class Author:
    """Creates the recipes of a seed.

    Args:
        verifier: reads answers in the same way as the policy's later.
        monitor: told of each answer whether it could be used.
    """

    def __init__(self, params: SynthesizeParams, verifier: Verifier, monitor: AnswerMonitor) -> None:
        self.params, self.verifier, self.monitor = params, verifier, monitor

    def recipes(self, seed: Seed) -> list[Recipe]:
        """Return the recipes for all problems of one seed, to be run in this order or concurrently."""
        if not self.params.new_per_seed:
            return [self._solve_seed(seed)]
        return [self._write_new(seed, number) for number in range(self.params.new_per_seed)]

    def _solve_seed(self, seed: Seed) -> Recipe:
        draft = Draft(seed.problem_id, 0, question=seed.question, gold=seed.gold)
        yield from self._solve(draft, seed.question)
        return draft

    def _write_new(self, seed: Seed, number: int) -> Recipe:
        style = self.params.answer_style
        draft = Draft(seed.problem_id, number)
        (answer,) = yield [Ask(prompts.write(seed.question, style), "write", number)]
        draft.written = text = self._text(draft, answer)
        if text is None:
            return draft
        written = question_in(text)
        if written is None:
            return self._unusable(draft, answer, "no-problem")
        self.monitor.usable(answer)
        if normalised(written) == normalised(seed.question):
            draft.reason = "copy-of-seed"
            return draft

        (answer,) = yield [Ask(prompts.check(seed.question, style, text), "check")]
        draft.checked = text = self._text(draft, answer)
        if text is None:
            return draft
        verdict = verdict_in(text)
        if verdict is None:
            return self._unusable(draft, answer, "no-verdict")
        # Models rarely copy "word for word": if the verdict is SOUND, use the problem as it was written.
        final = question_in(text) if verdict == "repaired" else written
        if final is None:
            return self._unusable(draft, answer, "no-problem")
        self.monitor.usable(answer)
        if verdict == "hopeless":
            draft.reason = "hopeless"
            return draft
        draft.question, draft.repaired = final, normalised(final) != normalised(written)
        yield from self._solve(draft, final)
        return draft

    def _solve(self, draft: Draft, question: str) -> Generator[list[Ask], Sequence[Answer], None]:
        style, wanted = self.params.answer_style, self.params.solutions
        answers = yield [Ask(prompts.solve(question, style), "solve", index) for index in range(wanted)]
        read = [self._solution(answer) for answer in answers]
        draft.solutions = [answer.text if isinstance(answer, Reply) else "" for answer in answers]
        draft.answers = [solution.answer if solution else None for solution in read]
        if not any(read):
            failed = [answer for answer in answers if isinstance(answer, NoReply)]
            draft.reason = failed[0].reason if len(failed) == len(answers) else "no-answer"
            return
        reach = self._reaching(read, draft.gold) if draft.gold is not None else self._agreeing(draft, read)
        draft.votes = len(reach)
        if draft.reason is None:
            # Judge it again like later stages: a solution to imitate must be correct in the policy's format.
            chosen = next((s for i in reach if (s := read[i]) and self._correct(s, draft.gold)), None)
            if chosen is None:
                draft.reason = "wrong" if not reach else "unreadable"
            else:
                draft.solution = chosen.text

    def _reaching(self, read: Sequence[Solution | None], gold: str) -> list[int]:
        return [i for i, solution in enumerate(read) if solution is not None and self._correct(solution, gold)]

    def _agreeing(self, draft: Draft, read: Sequence[Solution | None]) -> Sequence[int]:
        """Vote, and set the draft's gold answer, or the reason why there is none."""

        def same(position: int, other: int) -> bool:
            one, rival = read[position], read[other]
            return one is not None and rival is not None and self._correct(one, rival.answer)

        result = vote(draft.answers, same)
        votes = len(result.winners)
        if votes * 100 < self.params.min_agreement_percent * len(read) or votes == result.runner_up:
            draft.reason = "no-agreement"
            return result.winners
        draft.gold = self.verifier.parse_gold(draft.answers[result.winners[0]] or "")
        if draft.gold is None:
            draft.reason = "unreadable"
        return result.winners

    def _correct(self, solution: Solution, gold: str | None) -> bool:
        return gold is not None and self.verifier.judge_one(solution.text, gold).verdict is Verdict.CORRECT

    def _solution(self, answer: Answer) -> Solution | None:
        solution = None
        if isinstance(answer, Reply) and answer.finish_reason == "stop":
            solution = read_solution(answer.text, self.params.answer_style)
        if solution is None:
            self.monitor.unusable(answer, _lack(answer) or "no-answer")
        else:
            self.monitor.usable(answer)
        return solution

    def _text(self, draft: Draft, answer: Answer) -> str | None:
        """Return the text of a complete answer; if there is none, None, and the reason is recorded."""
        lack = _lack(answer)
        if lack is not None:
            self._unusable(draft, answer, lack)
        return None if lack is not None or isinstance(answer, NoReply) else answer.text

    def _unusable(self, draft: Draft, answer: Answer, reason: str) -> Draft:
        self.monitor.unusable(answer, reason)
        draft.reason = reason
        return draft


def _lack(answer: Answer) -> str | None:
    """Return why an answer cannot be read, or None."""
    if isinstance(answer, NoReply):
        return answer.reason
    if answer.finish_reason == "length":
        return "cut-off"
    return None if answer.finish_reason == "stop" else "refused"
