"""The quickstart's task: follow numbered operations over a few states, in strides of one or more operations per line.

A problem gives a start state and a list of operations, each a fixed permutation of the states. A solution
walks through the list; a line names its operations and the resulting state::

    start 27: 1a 2c 3f 4b ?
    1a 2c 15
    3f 22
    4b 13
    #### 13

The teacher is always right, and often does two or three operations in one line without writing the states between them:
a small student cannot follow such strides. A line is a step, so the true first wrong step is known (`oracle`). Pure
Python: no file, no clock, no torch.

The text consists of atoms that include their trailing space (`ATOMS`), so that a whole-atom tokenizer reproduces it
exactly. Positions have one digit and states two, so that a number has the same meaning everywhere.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Literal, get_args

from misstep.errors import BadInput
from misstep.problems.drawing import GeneratedProblem, below, choose, distinct, generator, share_of

Split = Literal["pretrain", "train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

STATES = range(10, 39)
OPERATIONS = "abcdef"
MAX_LENGTH = 6
MOST_POSITIONS = 9


def atoms(positions: int) -> tuple[str, ...]:
    """Return every atom of questions and solutions of up to so many operations (at most `MOST_POSITIONS`, so that a
    position has one digit)."""
    numbers = (str(position) for position in range(1, positions + 1))
    names = (f"{name} " for name in OPERATIONS)
    return ("start ", ": ", "?", "\n", "#### ", *numbers, *names, *(str(state) for state in STATES))


ATOMS = atoms(MAX_LENGTH)
"""Every atom of the quickstart's questions and solutions; a whole-atom tokenizer needs no others."""

_TASK_SEED = "strides/1"
_ZIPF = 1.3
_LENGTHS = (4, 6)
_TEACHER = (0.3, 0.3, 0.4)
_SHARES = (0.4, 0.3, 0.1, 0.2)  # of the distinct problems, in the order of SPLITS

_QUESTION = re.compile(r"start (\d\d): ((?:\d[a-z] )+)\?")
_LINE = re.compile(r"((?:\d[a-z] )+)(\d\d)")
_ANSWER = re.compile(r"#### (\d\d)")
_TAKEN = re.compile(r"(\d)([a-z]) ")


@dataclass(frozen=True)
class Walk:
    """A problem as numbers: the start state, then the operations (indices into ``OPERATIONS``) in order."""

    start: int
    operations: tuple[int, ...]

    @cached_property
    def states(self) -> tuple[int, ...]:
        """The state before any operation and after each: ``len(operations) + 1`` of them."""
        return tuple(accumulate(self.operations, lambda state, op: NEXT_STATE[op][state], initial=self.start))

    @property
    def question(self) -> str:
        """Write the problem's text."""
        return f"start {self.start}: {self._taken(0, len(self.operations))}?"

    def solution(self, strides: Sequence[int]) -> str:
        """Return the correct solution with ``strides[n]`` operations in line n (their sum is the length)."""
        ends = list(accumulate(strides))
        lines = [self.line(end - stride, end) for stride, end in zip(strides, ends, strict=True)]
        return "".join(lines) + self.answer_line

    def line(self, begin: int, end: int) -> str:
        """Return the correct line for the operations from ``begin`` to before ``end``, including its newline."""
        return f"{self._taken(begin, end)}{self.states[end]}\n"

    @property
    def answer_line(self) -> str:
        """Return the last line, which has no newline."""
        return f"#### {self.states[-1]}"

    def _taken(self, begin: int, end: int) -> str:
        return "".join(f"{k + 1}{OPERATIONS[self.operations[k]]} " for k in range(begin, end))


@dataclass(frozen=True)
class StridesTask:
    """The generator. The defaults are the quickstart's task; pre-training draws shorter problems as well.

    Args:
        lengths: smallest and largest number of operations of a problem; all lengths are equally likely.
        teacher: weights of 1, 2, ... operations in a line; the last line has the rest.
    """

    lengths: tuple[int, int] = _LENGTHS
    teacher: tuple[float, ...] = _TEACHER

    def generate(self, split: Split, count: int, seed: int) -> Iterator[GeneratedProblem]:
        """Yield the first ``count`` distinct problems of a split; a smaller count gives a prefix.

        Splits never share problems, for any counts and seeds (`split_of`).

        Raises:
            BadInput: the split has fewer than ``count`` distinct problems.
        """
        for walk, rng in distinct(self.draws(split, seed), count, split):
            strides = draw_strides(rng, self.teacher, len(walk.operations))
            yield GeneratedProblem(walk.question, walk.solution(strides), str(walk.states[-1]))

    def draws(self, split: Split, seed: int) -> Iterator[tuple[Walk, random.Random]]:
        """Draw problems of a split endlessly, each with its own generator; problems may repeat."""
        attempt = 0
        while True:
            rng = generator(_TASK_SEED, split, seed, attempt)
            attempt += 1
            walk = self._draw(rng)
            if split_of(walk.question) == split:
                yield walk, rng

    def _draw(self, rng: random.Random) -> Walk:
        low, high = self.lengths
        length = low + below(rng, high - low + 1)
        start = STATES[below(rng, len(STATES))]
        return Walk(start, tuple(choose(rng, _WEIGHTS) for _ in range(length)))


LONG = StridesTask(lengths=(8, MOST_POSITIONS), teacher=(0.5, 0.35, 0.15))
"""``long-strides``: longer problems, and a teacher who skips less, so that a solution has about twice as many lines."""


def generate(split: Split, count: int, seed: int) -> Iterator[GeneratedProblem]:
    """Yield the first ``count`` distinct problems of a split of the quickstart's task."""
    return StridesTask().generate(split, count, seed)


def generate_long(split: Split, count: int, seed: int) -> Iterator[GeneratedProblem]:
    """Yield the first ``count`` distinct problems of a split of ``long-strides``."""
    return LONG.generate(split, count, seed)


def split_of(question: str) -> Split:
    """Return the one split of a problem: a hash of its text decides, so that no two splits can share it."""
    return SPLITS[share_of(f"{_TASK_SEED} split\n{question}", _SHARES)]


def draw_strides(rng: random.Random, weights: Sequence[float], length: int) -> list[int]:
    """Draw the number of operations of each line, until all ``length`` operations are used."""
    strides: list[int] = []
    left = length
    while left:
        strides.append(min(1 + choose(rng, weights), left))
        left -= strides[-1]
    return strides


def oracle(question: str, response: str) -> int | None:
    """Return the index of the first wrong line of a response (a line is a step); None if it is right.

    A line is right if it names the next operations of the problem with their positions, in order, and the state that
    really results. The answer line is right only after the last operation, and nothing may follow it. A response that
    ends without an answer is wrong at the missing line.

    Raises:
        BadInput: the question is not one of this task.
    """
    walk = parse(question)
    done = 0
    lines = response.split("\n")
    for number, line in enumerate(lines):
        if answer := _ANSWER.fullmatch(line):
            right = done == len(walk.operations) and int(answer[1]) == walk.states[-1]
            if not right:
                return number
            return None if number == len(lines) - 1 else number + 1
        taken = _LINE.fullmatch(line)
        if taken is None:
            return number
        steps = [(int(position) - 1, OPERATIONS.find(name)) for position, name in _TAKEN.findall(taken[1])]
        expected = list(enumerate(walk.operations))[done : done + len(steps)]
        done += len(steps)
        if steps != expected or int(taken[2]) != walk.states[done]:
            return number
    return len(lines)


def first_error(question: str, response: str) -> int | None:
    """Return the offset of the first character of a response that no right response has there; None if it is right.

    The text before it is the beginning of a right response in the sense of `oracle`. If the response ends without an
    answer, the offset is its end. A newline after the answer is skipped: the error is the text after it, or that the
    response continues at all.

    Raises:
        BadInput: the question is not one of this task.
    """
    walk = parse(question)
    at = done = 0
    while done < len(walk.operations):
        lines = {end: walk.line(done, end) for end in range(done + 1, len(walk.operations) + 1)}
        end = next((end for end, line in lines.items() if response.startswith(line, at)), None)
        if end is None:
            return at + max(_shared(line, response[at:]) for line in lines.values())
        at += len(lines[end])
        done = end
    answer = walk.answer_line
    if not response.startswith(answer, at):
        return at + _shared(answer, response[at:])
    at += len(answer)
    return None if at == len(response) else at + response.startswith("\n", at)


def _shared(one: str, other: str) -> int:
    """Return the length of the common prefix of two texts."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def parse(question: str) -> Walk:
    """Read a question back.

    Raises:
        BadInput: the text is not a question of this task.
    """
    match = _QUESTION.fullmatch(question)
    taken = _TAKEN.findall(match[2]) if match else []
    walk = Walk(int(match[1]), tuple(OPERATIONS.find(name) for _, name in taken)) if match else None
    if walk is None or walk.start not in STATES or min(walk.operations) < 0 or walk.question != question:
        raise BadInput("question", question, "Give a question that the strides generator wrote.")
    return walk


def _permutation(name: str) -> dict[int, int]:
    rng = generator(_TASK_SEED, "operation", name)
    order = list(STATES)
    for last in range(len(order) - 1, 0, -1):
        other = below(rng, last + 1)
        order[last], order[other] = order[other], order[last]
    return dict(zip(STATES, order, strict=True))


_WEIGHTS = tuple(1 / rank**_ZIPF for rank in range(1, len(OPERATIONS) + 1))
NEXT_STATE = tuple(_permutation(name) for name in OPERATIONS)
"""For each operation, the next state of each state."""
