"""The quickstart's task: follow numbered operations over a few states, in strides of one or more a line.

A problem gives a start state and a list of operations, each a fixed permutation of the states. A solution
walks through the list; a line names the operations that it takes and the state that they lead to::

    start 27: 1a 2c 3f 4b ?
    1a 2c 15
    3f 22
    4b 13
    #### 13

The teacher is always right, and often takes two or three operations in one line without writing down the
states between: strides that a small student cannot follow. A line is a step, so the true first wrong step is
known (`oracle`). Pure Python: no file, no clock, no torch.

The text is made of atoms that carry their trailing space (`ATOMS`), so that a whole-atom tokenizer gives it
back exactly: positions have one digit and states two, so that a number means one thing wherever it stands.
"""

from __future__ import annotations

import hashlib
import random
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Literal, get_args

from misstep.errors import BadInput

Split = Literal["pretrain", "train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

STATES = range(10, 39)
OPERATIONS = "abcdef"
MAX_LENGTH = 6
ATOMS: tuple[str, ...] = (
    "start ",
    ": ",
    "?",
    "\n",
    "#### ",
    *(str(position) for position in range(1, MAX_LENGTH + 1)),
    *(f"{name} " for name in OPERATIONS),
    *(str(state) for state in STATES),
)
"""Every atom of a question or a solution; a whole-atom tokenizer needs no others."""

_TASK_SEED = "strides/1"
_ZIPF = 1.3
_LENGTHS = (4, 6)
_TEACHER = (0.3, 0.3, 0.4)
_SHARES = (0.4, 0.3, 0.1, 0.2)  # of the distinct problems, in the order of SPLITS
_MOST_MISSES = 20_000  # draws in a row without a new problem after which a split counts as used up

_QUESTION = re.compile(r"start (\d\d): ((?:\d[a-z] )+)\?")
_LINE = re.compile(r"((?:\d[a-z] )+)(\d\d)")
_ANSWER = re.compile(r"#### (\d\d)")
_TAKEN = re.compile(r"(\d)([a-z]) ")


@dataclass(frozen=True, slots=True)
class GeneratedProblem:
    """One problem with the teacher's solution and the answer's text, e.g. ``"3"``."""

    question: str
    solution: str
    gold: str


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
        """Write the right solution with ``strides[n]`` operations in line n (they sum to the length)."""
        ends = list(accumulate(strides))
        lines = [self.line(end - stride, end) for stride, end in zip(strides, ends, strict=True)]
        return "".join(lines) + self.answer_line

    def line(self, begin: int, end: int) -> str:
        """Write the right line that takes the operations from ``begin`` to before ``end``, its newline included."""
        return f"{self._taken(begin, end)}{self.states[end]}\n"

    @property
    def answer_line(self) -> str:
        """Write the last line, which no newline follows."""
        return f"#### {self.states[-1]}"

    def _taken(self, begin: int, end: int) -> str:
        return "".join(f"{k + 1}{OPERATIONS[self.operations[k]]} " for k in range(begin, end))


@dataclass(frozen=True)
class StridesTask:
    """The generator. The defaults are the quickstart's task; pre-training draws shorter problems as well.

    Args:
        lengths: least and greatest number of operations of a problem, each as likely as the others.
        teacher: weight of taking 1, 2, ... operations in a line; the last line takes what is left.
    """

    lengths: tuple[int, int] = _LENGTHS
    teacher: tuple[float, ...] = _TEACHER

    def generate(self, split: Split, count: int, seed: int) -> Iterator[GeneratedProblem]:
        """Yield the first ``count`` distinct problems of a split; fewer are a prefix of more.

        No problem of one split is ever a problem of another, whatever the counts and seeds (`split_of`).

        Raises:
            BadInput: the split has fewer than ``count`` distinct problems.
        """
        seen: set[Walk] = set()
        misses = 0
        for walk, rng in self.draws(split, seed):
            if len(seen) == count:
                return
            if walk in seen:
                misses += 1
                if misses > _MOST_MISSES:
                    fix = f"The {split} split holds about {len(seen)} problems: ask for fewer."
                    raise BadInput("limit", count, fix)
                continue
            misses = 0
            seen.add(walk)
            strides = draw_strides(rng, self.teacher, len(walk.operations))
            yield GeneratedProblem(walk.question, walk.solution(strides), str(walk.states[-1]))

    def draws(self, split: Split, seed: int) -> Iterator[tuple[Walk, random.Random]]:
        """Draw problems of a split without end, each with a generator of its own; problems may come again."""
        attempt = 0
        while True:
            rng = _rng(_TASK_SEED, split, seed, attempt)
            attempt += 1
            walk = self._draw(rng)
            if split_of(walk.question) == split:
                yield walk, rng

    def _draw(self, rng: random.Random) -> Walk:
        low, high = self.lengths
        length = low + _below(rng, high - low + 1)
        start = STATES[_below(rng, len(STATES))]
        return Walk(start, tuple(_choose(rng, _WEIGHTS) for _ in range(length)))


def generate(split: Split, count: int, seed: int) -> Iterator[GeneratedProblem]:
    """Yield the first ``count`` distinct problems of a split of the quickstart's task."""
    return StridesTask().generate(split, count, seed)


def split_of(question: str) -> Split:
    """Return the one split of a problem: a hash of its text decides, so that no two splits can share it."""
    digest = hashlib.sha256(f"{_TASK_SEED} split\n{question}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return SPLITS[min(bisect_right(list(accumulate(_SHARES)), place), len(SPLITS) - 1)]


def draw_strides(rng: random.Random, weights: Sequence[float], length: int) -> list[int]:
    """Draw how many operations each line takes until all ``length`` are taken."""
    strides: list[int] = []
    left = length
    while left:
        strides.append(min(1 + _choose(rng, weights), left))
        left -= strides[-1]
    return strides


def oracle(question: str, response: str) -> int | None:
    """Return the index of the first wrong line of a response (a line is a step), None where it is right.

    A line is right if it names the next operations of the problem with their positions, in order, and the
    state that they truly lead to; the answer line is right after the last operation only, and nothing follows
    it. A response that breaks off without an answer is wrong at the line that it does not have.

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
    """Return the offset of the first character of a response that no right response has there, None where it is right.

    All before it is the beginning of a right response in the sense of `oracle`. The offset is that of the response's
    end where it breaks off without an answer. A newline after the answer is passed over: the error is what follows it,
    or that the response goes on at all.

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
    """Return how many characters two texts begin with in common."""
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


def _rng(*name: object) -> random.Random:
    digest = hashlib.sha256("/".join(map(str, name)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


# Only Random.random() is promised to give the same numbers in every Python version: all draws go through it.
def _below(rng: random.Random, bound: int) -> int:
    return int(rng.random() * bound)


def _choose(rng: random.Random, weights: Sequence[float]) -> int:
    sums = list(accumulate(weights))
    return bisect_right(sums, rng.random() * sums[-1])


def _permutation(name: str) -> dict[int, int]:
    rng = _rng(_TASK_SEED, "operation", name)
    order = list(STATES)
    for last in range(len(order) - 1, 0, -1):
        other = _below(rng, last + 1)
        order[last], order[other] = order[other], order[last]
    return dict(zip(STATES, order, strict=True))


_WEIGHTS = tuple(1 / rank**_ZIPF for rank in range(1, len(OPERATIONS) + 1))
NEXT_STATE = tuple(_permutation(name) for name in OPERATIONS)
"""For each operation, the state that follows each state."""
