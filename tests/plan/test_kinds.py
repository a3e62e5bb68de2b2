"""The table of stage kinds is complete, and agrees with other lists of the kinds."""

from __future__ import annotations

from importlib.util import find_spec
from typing import get_type_hints

import pytest

from misstep.artifacts.records import TABLES
from misstep.plan.kinds import IMPORT_ORDER, KINDS, StageKind
from misstep.spec.resources import Resources, StageResources


def test_every_kind_has_its_line() -> None:
    assert list(KINDS) == list(StageKind)


def test_resources_can_be_given_to_every_kind() -> None:
    fields = {name for name, of in get_type_hints(Resources).items() if of is StageResources} - {"default"}
    assert fields == {kind.value for kind in StageKind}


def test_the_tables_of_every_kind_are_declared() -> None:
    assert set(TABLES) == {kind.value for kind in StageKind}


@pytest.mark.parametrize("kind", StageKind)
def test_the_modules_that_a_kind_names_exist(kind: StageKind) -> None:
    """A name that is wrong costs each process its import again, and is seen nowhere else."""
    module, _, function = KINDS[kind].work.partition(":")
    assert function
    assert find_spec(module)
    assert set(KINDS[kind].imports) <= set(IMPORT_ORDER)
    for name in KINDS[kind].imports:
        assert find_spec(name), name
