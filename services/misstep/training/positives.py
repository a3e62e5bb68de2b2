"""The solutions that RFT trains on: correct, complete, distinct, with a limit per problem."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from misstep.terms.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Sample:
    """A verified response of the policy."""

    problem_id: str
    sample: int
    prompt_ids: Sequence[int]
    token_ids: Sequence[int]
    finish_reason: str
    verdict: Verdict
    lucky: bool = False
    """Whether credit found a step that luck saved, and such samples are left out."""


@dataclass(frozen=True)
class Positives:
    """``kept`` is in the order of (problem, sample); ``dropped`` counts every other sample by reason."""

    kept: Sequence[Sample]
    dropped: Mapping[str, int]

    @property
    def problems(self) -> int:
        return len({sample.problem_id for sample in self.kept})


def select_positives(samples: Iterable[Sample], per_problem: int, min_distance_percent: int) -> Positives:
    """Choose, per problem, the first ``per_problem`` positives (by sample index) that differ enough from each other.

    Two solutions differ by the Levenshtein distance of their tokens over the longer one's length; a solution is kept
    only if that is above ``min_distance_percent`` percent for each one kept before it, so an equal one is never kept.
    The result does not depend on the order of the samples. Only positives are held in memory.
    """
    dropped: Counter[str] = Counter()
    positives: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.verdict is not Verdict.CORRECT:
            dropped["not-correct"] += 1
        elif sample.finish_reason != "stop":
            dropped["cut-off"] += 1
        elif sample.lucky:
            dropped["lucky"] += 1
        else:
            positives[sample.problem_id].append(sample)
    kept: list[Sample] = []
    for problem_id in sorted(positives):
        of_problem: list[Sample] = []
        for sample in sorted(positives[problem_id], key=lambda s: s.sample):
            if len(of_problem) == per_problem:
                dropped["over-per-problem"] += 1
            elif any(not _differ(sample.token_ids, k.token_ids, min_distance_percent) for k in of_problem):
                dropped["too-like-another"] += 1
            else:
                of_problem.append(sample)
        kept += of_problem
    return Positives(kept, dict(dropped))


def _differ(one: Sequence[int], other: Sequence[int], percent: int) -> bool:
    longest = max(len(one), len(other))
    return 100 * Levenshtein.distance(one, other) > percent * longest
