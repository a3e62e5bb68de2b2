"""Lay out preference pairs of one problem: which tokens are the prompt, the chosen and the rejected side.

Credited layouts blame one step of a wrong response, its pit; the baselines compare whole responses.

``shared-prefix``
    Prompt: problem and the steps before the pit. Chosen: a correct rollout from there. Rejected: the pit step
    alone. Both sides go on from the same prefix of the policy's own (arXiv 2406.14532, theorem 6.1).
``whole-response``
    Prompt: problem. Chosen: a correct response. Rejected: the wrong response through its pit (its algorithm
    1).
``random``
    Prompt: problem. Chosen: a correct sample. Rejected: a wrong one, drawn at random.
``edit-distance``
    As ``random``, but each wrong sample gets a correct one that lies far from it, the farthest first.

All sides are exact token slices of what the policy sampled, and no text is tokenised. Chosen sides are
complete correct responses of the policy itself, never the teacher's: a pit presumes that the policy solved
the problem, so one is always at hand, and the theorem wants both sides drawn from it. Which of several is
chosen is drawn at random: a correct rollout at random is what the policy does when it succeeds, whereas the
shortest one would teach brevity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Layout = Literal["shared-prefix", "whole-response", "random", "edit-distance"]
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Tokens that the policy sampled, with their text: a correct continuation, or a whole response."""

    token_ids: Ids
    text: str
    source: Literal["sample", "rollout"]
    sample: int = -1
    """The sample's number; none for a rollout."""


@dataclass(frozen=True, slots=True)
class Blamed:
    """A negative as the credit stage left it. ``prefix_ids[i]`` names the prefix of i steps."""

    sample: int
    token_ids: Ids
    step_ends: Ids
    step_texts: tuple[str, ...]
    prefix_ids: tuple[str, ...]
    pit: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ProblemAnswers:
    """All that pairs of one problem are made of. Equal samples stand here once."""

    problem_id: str
    prompt_ids: Ids
    correct: Sequence[Answer]
    wrong: Sequence[Answer]
    """Wrong samples that ended by themselves."""
    blamed: Sequence[Blamed] = ()
    solved: Mapping[str, Sequence[Answer]] | None = None
    """Correct rollouts by the prefix that they continue."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference pair; see the layouts for what its sides are."""

    problem_id: str
    layout: Layout
    negative_sample: int
    pit: int | None
    prompt_ids: Ids
    chosen: Answer
    rejected_ids: Ids
    rejected_text: str
    rejected_complete: bool
    """Whether the rejected side holds the response's end. A truncated one must never be given an end
    token."""

    @property
    def identity(self) -> tuple[Ids, Ids, Ids]:
        """Return what makes two pairs the same to a trainer."""
        return self.prompt_ids, self.chosen.token_ids, self.rejected_ids


Options = Iterable[Pair] | str
"""The pairs that one wrong response can give, of which one is taken, the first preferred; or why it gives
none."""


def options(layout: Layout, problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    """Yield, for each wrong response of a problem, the pairs that it can give."""
    return _LAYOUTS[layout](problem, seed)


def _shared_prefix(problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    for blamed in problem.blamed:
        if blamed.pit is None:
            yield blamed.reason or "no-pit"
            continue
        start = blamed.step_ends[blamed.pit - 2] if blamed.pit > 1 else 0
        answers = [*(problem.solved or {}).get(blamed.prefix_ids[blamed.pit - 1], ())]
        if blamed.pit == 1:
            answers += problem.correct
        prompt = problem.prompt_ids + blamed.token_ids[:start]
        text = blamed.step_texts[blamed.pit - 1]
        yield _against_pit(problem, "shared-prefix", blamed, prompt, start, text, answers, seed)


def _whole_response(problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    bare = {blamed.prefix_ids[0] for blamed in problem.blamed}
    # Rollouts from the bare problem are there only where samples were too few to tell its success rate.
    rollouts = [answer for name in sorted(bare) for answer in (problem.solved or {}).get(name, ())]
    for blamed in problem.blamed:
        if blamed.pit is None:
            yield blamed.reason or "no-pit"
            continue
        text = "".join(blamed.step_texts[: blamed.pit])
        answers = [*problem.correct, *rollouts]
        yield _against_pit(problem, "whole-response", blamed, problem.prompt_ids, 0, text, answers, seed)


def _against_pit(
    problem: ProblemAnswers,
    layout: Layout,
    blamed: Blamed,
    prompt_ids: Ids,
    start: int,
    text: str,
    answers: Sequence[Answer],
    seed: int,
) -> Options:
    """Pair correct answers with the tokens from ``start`` through the pit. An answer that begins with exactly
    these tokens says nothing against them."""
    assert blamed.pit is not None
    rejected = blamed.token_ids[start : blamed.step_ends[blamed.pit - 1]]
    contrasting = [answer for answer in answers if answer.token_ids[: len(rejected)] != rejected]
    if not contrasting:
        return "no-contrast" if answers else "no-correct-answer"
    return [
        Pair(
            problem.problem_id,
            layout,
            blamed.sample,
            blamed.pit,
            prompt_ids,
            answer,
            rejected,
            text,
            rejected_complete=blamed.pit == len(blamed.step_ends),
        )
        for answer in _drawn(contrasting, seed, problem.problem_id, blamed.sample)
    ]


def _random(problem: ProblemAnswers, seed: int) -> Iterator[Options]:
    for wrong in problem.wrong:
        if not problem.correct:
            yield "no-correct-answer"
            continue
        drawn = _drawn(problem.correct, seed, problem.problem_id, wrong.sample)
        yield [_whole_pair(problem, "random", wrong, answer) for answer in drawn]


def _edit_distance(problem: ProblemAnswers, _seed: int) -> Iterator[Options]:
    """Match wrong with correct samples by Levenshtein distance over tokens, the largest first. Correct
    samples are used evenly: none a second time before all were used once, so that one outlier is not every
    pair's chosen side."""
    from rapidfuzz.distance import Levenshtein

    if not problem.correct:
        yield from ("no-correct-answer" for _ in problem.wrong)
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
                yield [_whole_pair(problem, "edit-distance", problem.wrong[w], problem.correct[c])]


def _whole_pair(problem: ProblemAnswers, layout: Layout, wrong: Answer, correct: Answer) -> Pair:
    return Pair(
        problem.problem_id,
        layout,
        wrong.sample,
        None,
        problem.prompt_ids,
        correct,
        wrong.token_ids,
        wrong.text,
        rejected_complete=True,
    )


def _drawn(answers: Sequence[Answer], seed: int, problem_id: str, sample: int) -> list[Answer]:
    """Order the distinct answers at random, by a hash of what they are chosen for."""
    salt = f"{seed}\x1f{problem_id}\x1f{sample}\x1f"
    distinct = list({answer.token_ids: answer for answer in reversed(answers)}.values())

    def place(answer: Answer) -> bytes:
        return hashlib.blake2b(f"{salt}{answer.token_ids}".encode(), digest_size=8).digest()

    return sorted(distinct, key=place)


_LAYOUTS: dict[Layout, Callable[[ProblemAnswers, int], Iterator[Options]]] = {
    "shared-prefix": _shared_prefix,
    "whole-response": _whole_response,
    "random": _random,
    "edit-distance": _edit_distance,
}
