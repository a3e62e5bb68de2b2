"""A story with gaps, and how it is told: names, objects, numbers, wordings, the order of sentences, a distractor."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from misstep.problems.drawing import below

T = TypeVar("T")

EITHER = " || "
"""Stands between wordings of one sentence."""

_SHE = "Maya Lena Rosa Anna Nora Julia Emma Zoe Lucy Clara Alice Sofia Ella Grace Mia Ruth Hana Priya Amina Wendy"
_HE = "Tom Ben Omar Leo Sam Max Jack Paul Ivan Noah Adam Luis Felix Oscar Hugo Ken Raj Peter Simon Victor"
_NAMES = [
    *((name, "she", "her", "her") for name in _SHE.split()),
    *((name, "he", "his", "him") for name in _HE.split()),
]
_NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_IN_WORDS = 0.1
_WITH_NOISE = 0.15


class Noise(NamedTuple):
    """A sentence whose number ``{d}`` has nothing to do with the question."""

    text: str
    low: int
    high: int


_ABOUT_ANYONE = (
    Noise("{A} has {d} cousins.", 2, 9),
    Noise("{A} lives at number {d} on Park Street.", 2, 60),
    Noise("{A} got up at {d} o'clock that morning.", 6, 9),
    Noise("The bus home takes {A} {d} minutes.", 10, 40),
)
_ABOUT_NOBODY = (
    Noise("It is {d} degrees outside.", 12, 28),
    Noise("The whole place was cleaned {d} days ago.", 2, 9),
)


@dataclass(frozen=True)
class Story:
    """A template of problems.

    In texts, ``{A}``, ``{B}`` and ``{C}`` are people, and ``{he}``, ``{his}`` and ``{him}`` stand for ``{A}`` (``{He}``
    and ``{His}`` too). All numbers are two or more, so that what is counted is always in the plural.
    """

    tell: Sequence[str]
    """Sentences, each with its wordings. Neighbours that begin with ``~`` may stand in any order."""
    ask: str
    """The question, with its wordings."""
    numbers: Mapping[str, tuple[int, int]]
    """Gap -> smallest and largest number."""
    steps: Sequence[str]
    """``x = a * b : unit``, with two numbers or earlier results, and the answer last."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Gap -> choices, as in ``"apples|pears"``. A gap ``box/boxes`` is two gaps, filled from one choice of two forms.
    The gap ``{a_box}`` is the word with its article."""
    noise: Sequence[Noise] = ()
    """Distractors beside those that fit any story."""


def told(story: Story, numbers: Mapping[str, int], rng: random.Random) -> tuple[str, dict[str, str]]:
    """Tell a story.

    Returns:
        The question, and the text of each gap, for the teacher.
    """
    gaps = _filled(story, numbers, rng)
    sentences = [_wording(text, gaps, rng) for text in _ordered(story.tell, rng)]
    if rng.random() < _WITH_NOISE:
        sentences.insert(_pick((1, len(sentences)), rng), _distractor(story, gaps, rng))
    sentences.append(_wording(story.ask, gaps, rng))
    return " ".join(sentences), gaps


def capitalised(text: str) -> str:
    """Return a text with a capital first letter."""
    return text[:1].upper() + text[1:]


def _filled(story: Story, numbers: Mapping[str, int], rng: random.Random) -> dict[str, str]:
    gaps = _people(rng)
    for names, choices in story.words.items():
        chosen = _pick(choices.split("|"), rng)
        for name, form in zip(names.split("/"), chosen.split("/"), strict=True):
            gaps[name] = form
            gaps[f"a_{name}"] = f"{'an' if form[0] in 'aeiou' else 'a'} {form}"
    for name, number in numbers.items():
        in_words = rng.random() < _IN_WORDS and number < len(_NUMBER_WORDS)
        gaps[name] = _NUMBER_WORDS[number] if in_words else str(number)
    return gaps


def _people(rng: random.Random) -> dict[str, str]:
    """Draw three people with different names; the pronouns are the first one's."""
    left = list(_NAMES)
    people = [left.pop(below(rng, len(left))) for _ in "ABC"]
    _, he, his, him = people[0]
    gaps = {"he": he, "his": his, "him": him, "He": capitalised(he), "His": capitalised(his)}
    return gaps | {letter: person[0] for letter, person in zip("ABC", people, strict=True)}


def _ordered(tell: Sequence[str], rng: random.Random) -> list[str]:
    """Return the sentences without their marks, neighbours with ``~`` in a random order."""
    found: list[str] = []
    group: list[str] = []
    for text in tell:
        if text.startswith("~"):
            group.append(text[1:])
            continue
        found += [*_shuffled(group, rng), text]
        group = []
    return found + _shuffled(group, rng)


def _shuffled(texts: Sequence[str], rng: random.Random) -> list[str]:
    left = list(texts)
    return [left.pop(below(rng, len(left))) for _ in texts]


def _distractor(story: Story, gaps: Mapping[str, str], rng: random.Random) -> str:
    about = _ABOUT_ANYONE if "{A}" in " ".join(story.tell) else _ABOUT_NOBODY
    noise = _pick([*story.noise, *about] if rng.random() < 0.5 else story.noise or about, rng)
    number = noise.low + below(rng, noise.high - noise.low + 1)
    return capitalised(noise.text.format(d=number, **gaps))


def _wording(text: str, gaps: Mapping[str, str], rng: random.Random) -> str:
    return capitalised(_pick(text.split(EITHER), rng).format(**gaps))


def _pick(choices: Sequence[T], rng: random.Random) -> T:
    return choices[below(rng, len(choices))]
