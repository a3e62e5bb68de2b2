"""Every generated format keeps what `misstep.problems.generated` promises."""

from __future__ import annotations

from typing import get_args

import pytest

from misstep.cost.expectations import DEFAULTS
from misstep.problems.generated import GENERATORS, ReadSplit
from misstep.terms.formats import GENERATED
from misstep.terms.layouts import TASKS_WITH_ORACLE

SPLITS: tuple[ReadSplit, ...] = get_args(ReadSplit)


def test_each_generated_format_has_a_generator_and_expectations() -> None:
    assert tuple(GENERATORS) == GENERATED
    assert set(GENERATED) <= set(DEFAULTS)
    assert set(TASKS_WITH_ORACLE) <= set(GENERATED)


@pytest.mark.parametrize("name", GENERATED)
def test_splits_are_apart_and_fewer_problems_are_a_prefix(name: str) -> None:
    questions: dict[ReadSplit, set[str]] = {split: set() for split in SPLITS}
    for split in SPLITS:
        for seed in (0, 7):
            found = list(GENERATORS[name](split, 60, seed))
            assert list(GENERATORS[name](split, 25, seed)) == found[:25]
            made = {problem.question for problem in found}
            assert len(made) == 60
            questions[split] |= made
    assert sum(map(len, questions.values())) == len(set().union(*questions.values()))
