"""Choose the responses to credit, and say of every other one why it is not. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from misstep.credit.evidence import Known
from misstep.credit.selection import CreditProblem, ProblemTally, SampledResponse, spread
from misstep.credit.values import Counts
from misstep.plan.params import CreditParams
from misstep.standalone.encoding import QUESTION_CHANGED, TOO_LONG, Encoded
from misstep.standalone.judging import GOLD_UNREADABLE
from misstep.standalone.rows import GivenFile, GivenProblem
from misstep.terms.verdict import Judgement, Verdict

CREDITED, CORRECT = "credited", "correct"
UNREADABLE, TIMEOUT, REPEATED, OVER, OVER_ALL = (
    "unreadable",
    "timeout",
    "repeated",
    "over-negatives-per-problem",
    "over-max-negatives",
)

REASONS = {
    CREDITED: "credited",
    CORRECT: "correct: evidence, not credited",
    UNREADABLE: "no answer that the verifier can read, or one that it cannot tell from the gold answer",
    GOLD_UNREADABLE: "the gold answer cannot be read",
    TIMEOUT: "the comparison with the gold answer took too long",
    REPEATED: "the same text as an earlier response to the problem",
    OVER: "more wrong responses than --negatives-per-problem",
    OVER_ALL: "more wrong responses than --max-negatives",
    TOO_LONG: "longer than --max-new-tokens or the model's context",
    "changed-by-tokenizer": "the model's tokenizer changes the text",
    QUESTION_CHANGED: "the model's tokenizer changes the question",
    "no-question": "the row has no question",
    "no-gold": "the row has no gold answer",
    "no-response": "the row has no response",
}
"""Each status of a row, in words."""


@dataclass(slots=True)
class Choice:
    """What is credited, in blocks of problems."""

    problems: list[CreditProblem]
    """Those with something to credit, in the order of the file."""
    status: dict[tuple[str, int], str]
    """For every response of the file, by problem and sample: `CREDITED`, or why not."""
    encoded: dict[tuple[str, int], Encoded]
    tallies: dict[str, ProblemTally]
    prompts: dict[str, tuple[int, ...]]
    samples: dict[str, list[int]]
    """The numbers of each problem's responses."""
    differences: list[str] = field(default_factory=list)
    """The first places at which a tokenizer changes text."""

    def counts(self) -> Counter[str]:
        """Count responses by status."""
        return Counter(self.status.values())


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses by the settings of credit.

    ``own``: the responses are the model's own samples. Then all of them are evidence, as in an Experiment. Those of
    another writer are no draws of the model: only the correct ones are evidence, of the prefixes that they pass
    through.
    """

    credit: CreditParams
    own: bool
    prompt: Callable[[str], tuple[tuple[int, ...], str]]
    """`Encoder.prompt`."""
    response: Callable[..., Encoded]
    """`Encoder.response`."""

    def choose(self, read: GivenFile, judged: Mapping[tuple[str, int], Judgement]) -> Choice:
        """Choose the responses to credit."""
        choice = Choice([], {}, {}, {}, {}, {})
        for problem in read.problems.values():
            self._take(problem, judged, choice)
        limit = self.credit.negatives_per_problem
        each = {name: tally.negatives(limit) for name, tally in choice.tallies.items()}
        granted = spread({n: len(found) for n, found in each.items()}, self.credit.max_negatives, self.credit.seed)
        for problem in read.problems.values():
            name = problem.problem_id
            chosen = each[name][: granted.get(name, 0)]
            correct = choice.tallies[name].positives(self.credit.positives_per_problem)
            self._mark(problem, choice, each[name], chosen, correct)
            if chosen or correct:
                choice.problems.append(self._problem(problem, choice, judged, chosen, correct))
        return choice

    def _take(self, problem: GivenProblem, judged: Mapping[tuple[str, int], Judgement], choice: Choice) -> None:
        name = problem.problem_id
        tally = choice.tallies[name] = ProblemTally()
        prompt, changed = self.prompt(problem.question)
        choice.prompts[name] = prompt
        choice.samples[name] = [given.sample for given in problem.responses]
        if changed:
            _note(choice, changed)
        for given in problem.responses:
            key = (name, given.sample)
            judgement = judged[key]
            if judgement.verdict not in (Verdict.CORRECT, Verdict.WRONG):
                rule, late = judgement.rule, judgement.verdict is Verdict.TIMEOUT
                choice.status[key] = GOLD_UNREADABLE if rule == GOLD_UNREADABLE else TIMEOUT if late else UNREADABLE
                tally.add(given.sample, judgement.verdict, "stop", b"", room=True)
                continue
            found = choice.encoded[key] = Encoded(problem=QUESTION_CHANGED) if changed else self.response(given, prompt)
            if found.problem:
                choice.status[key] = found.problem
                if found.difference:
                    _note(choice, f"{given.where}: {found.difference}")
            elif judgement.verdict is Verdict.CORRECT:
                choice.status[key] = CORRECT
            tally.add(given.sample, judgement.verdict, "stop", _digest(found, given.text), room=not found.problem)

    def _mark(
        self, problem: GivenProblem, choice: Choice, within: list[int], chosen: list[int], correct: list[int]
    ) -> None:
        """Give every response that is not marked yet its status."""
        name, seen = problem.problem_id, set[tuple[int, ...]]()
        for given in problem.responses:
            key = (name, given.sample)
            if given.sample in chosen or given.sample in correct:
                choice.status[key] = CREDITED
            elif key not in choice.status:
                again = choice.encoded[key].token_ids in seen
                choice.status[key] = REPEATED if again else OVER if given.sample not in within else OVER_ALL
            if key in choice.encoded:
                seen.add(choice.encoded[key].token_ids)

    def _problem(
        self,
        problem: GivenProblem,
        choice: Choice,
        judged: Mapping[tuple[str, int], Judgement],
        chosen: list[int],
        correct: list[int],
    ) -> CreditProblem:
        name = problem.problem_id

        def responses(samples: list[int]) -> tuple[SampledResponse, ...]:
            found = ((sample, choice.encoded[name, sample]) for sample in samples)
            return tuple(SampledResponse(n, each.token_ids, each.text, each.steps) for n, each in found)

        known = (
            (given.sample, Known(choice.encoded[name, given.sample].token_ids, solved))
            for given in problem.responses
            if (name, given.sample) in choice.encoded and choice.encoded[name, given.sample].problem is None
            for solved in [judged[name, given.sample].verdict is Verdict.CORRECT]
            if solved or self.own
        )
        return CreditProblem(
            problem_id=name,
            gold=problem.gold,
            prompt_ids=choice.prompts[name],
            samples=choice.tallies[name].other_samples() if self.own else Counts(),
            samples_for_positives=choice.tallies[name].other_samples(correct=True) if self.own else Counts(),
            negatives=responses(chosen),
            positives=responses(correct),
            known=tuple(known),
        )


def _digest(found: Encoded, text: str) -> bytes:
    held = np.asarray(found.token_ids, dtype="<i4").tobytes() if found.problem is None else text.encode()
    return hashlib.blake2b(held, digest_size=16).digest()


def _note(choice: Choice, difference: str, most: int = 5) -> None:
    if len(choice.differences) < most:
        choice.differences.append(difference)
