"""Define the preference pairs of one problem: which tokens are the prompt, the chosen and the rejected side.

Credited layouts blame one step of a wrong response, its pit; controls blame another step in the same way; the
baselines compare whole responses.

``shared-prefix``
    Prompt: problem and the steps before the pit. Chosen: a correct rollout from there. Rejected: the pit step
    alone. Both sides continue the same prefix, sampled from the policy (arXiv 2406.14532, theorem 6.1).
``whole-response``
    Prompt: problem. Chosen: a correct response. Rejected: the wrong response through its pit (algorithm 1 there).
``placebo-cut``
    As ``shared-prefix``, for the same negatives, but at a step drawn at random in place of the pit.
``oracle-pit``
    As ``shared-prefix``, but at the true first wrong step, for every credited negative, with a pit or without.
``lucky-step``
    From a correct response with a step that luck saved: no rollout from after it succeeded, though the response did.
    Prompt: problem and the steps before. Chosen: a correct rollout from there. Rejected: that step alone.
``random``
    Prompt: problem. Chosen: a correct sample. Rejected: a wrong one, drawn at random.
``edit-distance``
    As ``random``, but each wrong sample gets a correct one that is far from it, the farthest first.
``teacher``
    Prompt: problem. Chosen: the teacher's solution. Rejected: a wrong sample. Off-policy, as pairs often are in
    practice: the policy itself may hardly ever write the chosen side. It also gives pairs for problems that the policy
    never solved.

A pit is refuted, and gives no pair, if a known correct response begins with the wrong one's tokens through the pit: a
success was possible after it, and the rollouts missed it by chance. Of 903 pits that a full scan finds on the
quickstart's task, 61 are refuted in this way, and 50 of these are not the first error. The step of a correct response
is refuted by another one in the same way (`misstep.credit.refuted`).

A cut at a step is possible if a known correct answer continues the prefix before the step and does not begin with the
step's own tokens: rollouts often repeat a right step, and a chosen side must not contain the rejected one. At a pit
that is not refuted, no known answer repeats the step.

``placebo-cut`` draws its cut from all steps of the negative at which a cut is possible, each as likely as the others.
The pit is one of them and may be drawn; where it is the only one, the pair is that of ``shared-prefix``. So that both
layouts differ in nothing but the step, the placebo makes a pair of exactly those negatives of which ``shared-prefix``
makes one (`misstep.credit.pair_up`), and where the drawn cut has no pair that is not taken already, it goes on to the
cut that was drawn next. Which prefixes have rollouts depends on the estimator: all after ``full-scan``, those up to
the pit after ``sequential``, some after ``bisection``. After ``sequential`` the cut is therefore the pit or a step
before it.

All sides are exact token slices of what the policy sampled, and no text is tokenised. Chosen sides are complete
correct responses of the policy itself: a pit implies that the policy solved the problem, so there always is one, and
the theorem requires both sides to be sampled from the policy. Among several, one is drawn at random by default: a
random correct rollout is what the policy does when it succeeds, while the shortest one would teach brevity.
`misstep.credit.chosen` has the other rules. The chosen side of ``teacher`` is the one exception: it is tokenised as SFT
does (`misstep.credit.teacher`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from misstep.credit.block import CreditedResponse
from misstep.credit.refuted import refuted
from misstep.terms.keyed import keyed_hash
from misstep.terms.layouts import LUCKY, PLACEBO, TEACHER, Layout

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Tokens with their text: a correct continuation, or a whole response. The policy sampled them, unless the source
    is ``teacher``."""

    token_ids: Ids
    text: str
    source: Literal["sample", "rollout", "teacher"]
    sample: int = -1
    """The sample's number; none for a rollout."""


@dataclass(frozen=True, slots=True)
class ProblemAnswers:
    """Everything that the pairs of one problem are made from. Equal samples are here once."""

    problem_id: str
    prompt_ids: Ids
    correct: Sequence[Answer]
    wrong: Sequence[Answer]
    """Wrong samples that ended by themselves."""
    credited: Sequence[CreditedResponse] = ()
    """Credited wrong samples; for ``lucky-step`` correct ones."""
    solved: Mapping[str, Sequence[Answer]] | None = None
    """Correct rollouts by the prefix that they continue."""
    taught: Answer | None = None
    """For ``teacher``: the teacher's solution, if it is correct."""


def distinct(answers: Iterable[Answer]) -> list[Answer]:
    """Return the first of equal answers, in order."""
    found: dict[Ids, Answer] = {}
    for answer in answers:
        found.setdefault(answer.token_ids, answer)
    return list(found.values())


def by_prefix(rollouts: Iterable[tuple[str, Sequence[int], str]]) -> dict[str, list[Answer]]:
    """Return correct rollouts, given as prefix id, tokens and text, by the prefix that they continue."""
    solved: dict[str, list[Answer]] = {}
    for name, ids, text in rollouts:
        solved.setdefault(name, []).append(Answer(tuple(ids), text, "rollout"))
    return solved


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference pair; the layouts define its sides."""

    problem_id: str
    layout: Layout
    negative_sample: int
    """The sample that the rejected side is of."""
    pit: int | None
    """The blamed step, from 1: credit's pit, or the step at which a control cuts."""
    prompt_ids: Ids
    chosen: Answer
    rejected_ids: Ids
    rejected_text: str
    rejected_complete: bool
    """Whether the rejected side includes the response's end. A truncated one must never get an end token."""
    cuts: int = 1
    """Steps of the wrong response at which the layout could have cut."""
    weight: float = 1.0
    """How much it counts in the loss, against the other pairs."""

    @property
    def identity(self) -> tuple[Ids, Ids, Ids]:
        """Return the fields that make two pairs equal for a trainer."""
        return self.prompt_ids, self.chosen.token_ids, self.rejected_ids


_NONE_CORRECT = "no-correct-answer"

Options = Iterable[Pair] | str
"""The pairs that one wrong response can give, in the order of the draw; or why it gives none."""


def options(layout: Layout, problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    """Yield, for each wrong response of a problem, the pairs that it can give."""
    return _LAYOUTS[layout](problem, seed)


def _shared_prefix(problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    return _at_pits(problem, lambda response, pit: _cut(problem, "shared-prefix", response, pit, seed))


def _lucky_step(problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    return _at_pits(problem, lambda response, pit: _cut(problem, LUCKY, response, pit, seed))


def _placebo_cut(problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    """Offer the pairs of every possible cut, in the order in which the cuts were drawn."""

    def cuts(response: CreditedResponse, _pit: int) -> list[Pair]:
        steps = sorted(
            range(1, len(response.steps.ends) + 1),
            key=lambda step: keyed_hash(seed, problem.problem_id, response.sample, f"cut {step}"),
        )
        possible = [pairs for step in steps if (pairs := _cut(problem, PLACEBO, response, step, seed))]
        return [replace(pair, cuts=len(possible)) for pairs in possible for pair in pairs]

    return _at_pits(problem, cuts)


def _oracle_pit(problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    for response in problem.credited:
        if response.true_pit is None:
            yield "no-true-error"
        else:
            pairs = _cut(problem, "oracle-pit", response, response.true_pit, seed)
            yield pairs or response.reason or _NONE_CORRECT


def _whole_response(problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    def through(response: CreditedResponse, pit: int) -> list[Pair]:
        # There are rollouts from the bare problem only if samples were too few to estimate its success rate.
        answers = [*problem.correct, *(problem.solved or {}).get(response.prefix_ids[0], ())]
        return _against(problem, "whole-response", response, 0, pit, answers, seed)

    return _at_pits(problem, through)


def _at_pits(problem: ProblemAnswers, pairs_of: Callable[[CreditedResponse, int], list[Pair]]) -> Iterator[Options]:
    """Offer the pairs of a negative and its pit, or the reason why the pit gives none."""
    for response, why in _usable_pits(problem):
        if response.pit is None or why:
            yield why or "no-pit"
        else:
            yield pairs_of(response, response.pit) or _NONE_CORRECT


def _usable_pits(problem: ProblemAnswers) -> Iterator[tuple[CreditedResponse, str | None]]:
    """Yield a problem's credited responses, each with the reason why its pit gives no pair, if there is one."""
    samples = [answer.token_ids for answer in problem.correct]
    rollouts = [answer.token_ids for answer in _whole_rollouts(problem)]
    for response in problem.credited:
        if response.pit is None:
            yield response, response.reason
            continue
        end = response.steps.ends[response.pit - 1]
        yield response, "refuted" if refuted(response.token_ids, end, samples, rollouts) else None


def _whole_rollouts(problem: ProblemAnswers) -> Iterator[Answer]:
    """Yield every correct rollout, with the prefix that it continues."""
    prefixes = {
        name: (response.token_ids[:end], "".join(response.steps.texts[:number]))
        for response in problem.credited
        for number, (name, end) in enumerate(zip(response.prefix_ids, (0, *response.steps.ends), strict=True))
    }
    for name, answers in (problem.solved or {}).items():
        ids, text = prefixes[name]
        yield from (Answer(ids + answer.token_ids, text + answer.text, "rollout") for answer in answers)


def _continuations(problem: ProblemAnswers, response: CreditedResponse, steps: int) -> list[Answer]:
    """Return correct continuations of a response's first steps: its rollouts; where none succeeded, the rests of
    correct responses that pass through, which are draws of the same policy from the same prefix."""
    rollouts = [*(problem.solved or {}).get(response.prefix_ids[steps], ())]
    if not steps:
        return [*rollouts, *problem.correct]
    if rollouts:
        return rollouts
    begin, text = response.token_ids[: response.steps.ends[steps - 1]], "".join(response.steps.texts[:steps])
    return [
        replace(answer, token_ids=answer.token_ids[len(begin) :], text=answer.text[len(text) :])
        for answer in (*problem.correct, *_whole_rollouts(problem))
        if answer.token_ids[: len(begin)] == begin
    ]


def _cut(problem: ProblemAnswers, layout: Layout, response: CreditedResponse, step: int, seed: int) -> list[Pair]:
    """Pair correct answers that continue the prefix before a step with that step alone."""
    answers = _continuations(problem, response, step - 1)
    return _against(problem, layout, response, step - 1, step, answers, seed)


def _against(
    problem: ProblemAnswers,
    layout: Layout,
    response: CreditedResponse,
    before: int,
    through: int,
    answers: Sequence[Answer],
    seed: int,
) -> list[Pair]:
    """Pair correct answers that continue after ``before`` steps with the steps from there ``through`` the blamed one.
    Answers that begin with these steps are left out."""
    ends = (0, *response.steps.ends)
    rejected = response.token_ids[ends[before] : ends[through]]
    return [
        Pair(
            problem_id=problem.problem_id,
            layout=layout,
            negative_sample=response.sample,
            pit=through,
            prompt_ids=problem.prompt_ids + response.token_ids[: ends[before]],
            chosen=answer,
            rejected_ids=rejected,
            rejected_text="".join(response.steps.texts[before:through]),
            rejected_complete=through == len(response.steps.ends),
        )
        for answer in _drawn(answers, seed, problem.problem_id, response.sample)
        if answer.token_ids[: len(rejected)] != rejected
    ]


def _random(problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    for wrong in problem.wrong:
        if not problem.correct:
            yield _NONE_CORRECT
            continue
        drawn = _drawn(problem.correct, seed, problem.problem_id, wrong.sample)
        yield [_whole_pair(problem, "random", wrong, answer) for answer in drawn]


def _edit_distance(problem: ProblemAnswers, _seed: int) -> Iterator[Options]:
    """Match wrong with correct samples by Levenshtein distance over tokens, the largest first. Correct samples are used
    evenly: no sample is used twice before all were used once, so that one outlier is not the chosen side of every
    pair. After its match, a wrong sample's other correct ones follow, the farthest first."""
    from rapidfuzz.distance import Levenshtein

    if not problem.correct:
        yield from (_NONE_CORRECT for _ in problem.wrong)
        return
    ranked = sorted(
        (-Levenshtein.distance(wrong.token_ids, correct.token_ids), wrong.sample, correct.sample, w, c)
        for w, wrong in enumerate(problem.wrong)
        for c, correct in enumerate(problem.correct)
    )
    open_wrong = set(range(len(problem.wrong)))
    while open_wrong:
        open_correct = set(range(len(problem.correct)))
        for *_, w, c in ranked:
            if w in open_wrong and c in open_correct:
                open_wrong.remove(w)
                open_correct.remove(c)
                others = [other for *_, of, other in ranked if of == w and other != c]
                yield [
                    _whole_pair(problem, "edit-distance", problem.wrong[w], problem.correct[n]) for n in (c, *others)
                ]


def _teacher(problem: ProblemAnswers, _seed: int) -> Iterator[Options]:
    for wrong in problem.wrong:
        yield [_whole_pair(problem, TEACHER, wrong, problem.taught)] if problem.taught else "no-teacher-solution"


def _whole_pair(problem: ProblemAnswers, layout: Layout, wrong: Answer, correct: Answer) -> Pair:
    return Pair(
        problem_id=problem.problem_id,
        layout=layout,
        negative_sample=wrong.sample,
        pit=None,
        prompt_ids=problem.prompt_ids,
        chosen=correct,
        rejected_ids=wrong.token_ids,
        rejected_text=wrong.text,
        rejected_complete=True,
    )


def _drawn(answers: Sequence[Answer], seed: int, problem_id: str, sample: int) -> list[Answer]:
    """Order the distinct answers at random, by a hash of their purpose."""
    distinct = {answer.token_ids: answer for answer in reversed(answers)}.values()
    return sorted(distinct, key=lambda answer: keyed_hash(seed, problem_id, sample, answer.token_ids))


_LAYOUTS: dict[Layout, Callable[[ProblemAnswers, int], Iterator[Options]]] = {
    "shared-prefix": _shared_prefix,
    "whole-response": _whole_response,
    PLACEBO: _placebo_cut,
    "oracle-pit": _oracle_pit,
    LUCKY: _lucky_step,
    "random": _random,
    "edit-distance": _edit_distance,
    TEACHER: _teacher,
}
