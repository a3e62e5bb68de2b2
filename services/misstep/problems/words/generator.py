"""Draws word problems. Pure Python: no file, no clock, no torch.

Splits share neither a story nor numbers: each story belongs to one split, and a hash of a problem's numbers, in rising
order, says which split may use them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from misstep.problems.drawing import GeneratedProblem, below, choose, distinct, generator, share_of
from misstep.problems.words import held_out, train
from misstep.problems.words.story import Story, told
from misstep.problems.words.teacher import Step, results, solution

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
STORIES: Mapping[Split, Sequence[Story]] = {
    "train": train.STORIES,
    "validation": held_out.VALIDATION,
    "test": held_out.TEST,
}

_SEED = "words/1"
_STEPS = {2: 0.6, 3: 0.25, 4: 0.15}  # steps of a story -> share of problems
_SHARES = (0.6, 0.15, 0.25)  # of the tuples of numbers, in the order of SPLITS


@dataclass(frozen=True)
class Draw:
    """A story with numbers for its gaps, before it is told."""

    number: int
    """Of the story, among those of its split."""
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class WordsTask:
    """The generator, of the stories of each split."""

    stories: Mapping[Split, Sequence[Story]] = field(default_factory=lambda: STORIES)

    def generate(self, split: Split, count: int, seed: int) -> Iterator[GeneratedProblem]:
        """Yield the first ``count`` problems of a split; a smaller count gives a prefix.

        No two of them have the same story and numbers.

        Raises:
            BadInput: the split has fewer than ``count`` such problems.
        """
        for draw, rng in distinct(self.draws(split, seed), count, split):
            yield self._problem(split, draw, rng)

    def draws(self, split: Split, seed: int) -> Iterator[tuple[Draw, random.Random]]:
        """Draw stories and numbers of a split endlessly, each with its own generator; they may repeat."""
        stories = self.stories[split]
        of_length = Counter(len(story.steps) for story in stories)
        weights = [_STEPS.get(len(story.steps), 1) / of_length[len(story.steps)] for story in stories]
        attempt = 0
        while True:
            rng = generator(_SEED, split, seed, attempt)
            attempt += 1
            number = choose(rng, weights)
            story = stories[number]
            # A story whose numbers seldom fit must not be told less often, so its numbers are drawn until they fit.
            while True:
                numbers = tuple(low + below(rng, high - low + 1) for low, high in story.numbers.values())
                if split_of(numbers) == split and _known(story, numbers) is not None:
                    break
            yield Draw(number, numbers), rng

    def _problem(self, split: Split, draw: Draw, rng: random.Random) -> GeneratedProblem:
        story = self.stories[split][draw.number]
        known = _known(story, draw.numbers)
        assert known is not None
        question, gaps = told(story, dict(zip(story.numbers, draw.numbers, strict=True)), rng)
        steps = _steps(story)
        return GeneratedProblem(question, solution(steps, known, gaps, rng), str(known[steps[-1].result]))


def generate(split: Split, count: int, seed: int) -> Iterator[GeneratedProblem]:
    """Yield the first ``count`` problems of a split."""
    return WordsTask().generate(split, count, seed)


def split_of(numbers: Sequence[int]) -> Split:
    """Return the one split that may use these numbers, in any order."""
    return SPLITS[share_of(f"{_SEED} split\n{sorted(numbers)}", _SHARES)]


def _known(story: Story, numbers: Sequence[int]) -> dict[str, int] | None:
    return results(_steps(story), dict(zip(story.numbers, numbers, strict=True)))


def _steps(story: Story) -> list[Step]:
    return [Step.read(text) for text in story.steps]
