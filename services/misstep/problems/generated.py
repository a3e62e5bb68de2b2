"""The generators of problems, by format. Register further ones here; no heavy imports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from misstep.problems import strides
from misstep.problems.drawing import GeneratedProblem
from misstep.problems.words import generator as words

ReadSplit = Literal["train", "validation", "test"]
Generate = Callable[[ReadSplit, int, int], Iterator[GeneratedProblem]]
"""Maps a split, a number of problems and a seed to that many different problems of the split. No split shares a problem
with another, for any numbers and seeds, and fewer problems are a prefix of more."""

GENERATORS: dict[str, Generate] = {
    "strides": strides.generate,
    "long-strides": strides.generate_long,
    "words": words.generate,
}
"""Format -> its generator, for each of `misstep.terms.formats.GENERATED`."""
