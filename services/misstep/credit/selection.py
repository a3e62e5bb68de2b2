"""Choose the responses to credit, from samples and verdicts only, before any model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from misstep.credit.evidence import Known
from misstep.credit.steps import Steps
from misstep.credit.values import Counts
from misstep.terms.keyed import keyed_hash
from misstep.terms.verdict import Verdict


@dataclass(frozen=True, slots=True)
class SampledResponse:
    """A response that ended by itself; its ids include the end token (or stop string)."""

    sample: int
    token_ids: tuple[int, ...]
    text: str
    steps: Steps | None = None
    """Its steps, where they are given; None cuts it by the rule."""


@dataclass(frozen=True, slots=True)
class CreditProblem:
    """A problem with its chosen negatives, ready to be credited."""

    problem_id: str
    gold: str
    prompt_ids: tuple[int, ...]
    samples: Counts
    """The problem's samples, less a wrong one, as evidence of its success rate for each of its negatives
    (`ProblemTally.other_samples`)."""
    negatives: tuple[SampledResponse, ...]
    positives: tuple[SampledResponse, ...] = ()
    """Correct responses to credit too."""
    samples_for_positives: Counts = field(default_factory=Counts)
    """The problem's samples, less a correct one: a positive is no evidence of its own success."""
    known: tuple[tuple[int, Known], ...] = ()
    """All samples by number, as evidence of the prefixes that they pass through."""


@dataclass(slots=True)
class ProblemTally:
    """One problem's samples, added one by one; only digests of the responses are kept."""

    verdicts: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    _first_with: dict[bytes, int] = field(default_factory=dict)
    _first_correct: dict[bytes, int] = field(default_factory=dict)

    def add(self, sample: int, verdict: Verdict, finish_reason: str, digest: bytes, room: bool) -> None:
        """Take in one sample.

        Args:
            digest: of the token ids; among equal responses the first sample represents all.
            room: whether the response fits into the tokens that a rollout may fill.
        """
        finished = finish_reason == "stop"
        self.verdicts[verdict if finished else "cut_off"] += 1
        if verdict is Verdict.CORRECT and finished and room:
            self._first_correct[digest] = min(self._first_correct.get(digest, sample), sample)
        if verdict is not Verdict.WRONG or not finished:
            return
        if not room:
            self.skipped["too_long"] += 1
            return
        known = self._first_with.setdefault(digest, sample)
        if known != sample:
            self.skipped["repeated"] += 1
            self._first_with[digest] = min(known, sample)

    def negatives(self, limit: int) -> list[int]:
        """Return the samples to credit: the first ``limit`` distinct wrong ones. Samples are drawn independently, so
        the first ones are as good as any others, and a larger limit only adds to the choice of a smaller one."""
        return sorted(self._first_with.values())[:limit]

    def positives(self, limit: int) -> list[int]:
        """Return the correct samples to credit: the first ``limit`` distinct ones."""
        return sorted(self._first_correct.values())[:limit]

    def other_samples(self, correct: bool = False) -> Counts:
        """Return the evidence of Q_0 without rollouts: all samples of the problem except the response in question.

        A negative was picked because it is wrong, so the mean of all samples would be biased downwards; a positive
        (``correct``) biases it upwards. Given the verdict of one sample, the others are still independent draws, and
        their mean is an unbiased estimate of the success rate. Which sample is left out does not change the counts, so
        all negatives of a problem share them, and all positives share theirs.
        """
        total, right = self.verdicts.total(), self.verdicts[Verdict.CORRECT]
        unknown = total - right - self.verdicts[Verdict.WRONG]
        left = max(0, total - 1)
        return Counts(left, min(left, max(0, right - correct)), unknown)


def spread(counts: Mapping[str, int], limit: int | None, seed: int) -> dict[str, int]:
    """Distribute a limit over problems: one each, then a second each, and so on, in a hash order of the problems.

    The result depends only on the arguments, and a higher limit only adds.

    Args:
        counts: how many items each problem has.
        limit: how many to take in all; None takes everything.

    Returns:
        How many to take from each problem; problems with none are left out.
    """
    if limit is None or sum(counts.values()) <= limit:
        return {problem: count for problem, count in counts.items() if count}
    turns = sorted(
        (turn, keyed_hash(seed, problem), problem) for problem, count in counts.items() for turn in range(count)
    )
    return dict(Counter(problem for _, _, problem in turns[: max(0, limit)]))
