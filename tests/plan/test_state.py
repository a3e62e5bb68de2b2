from __future__ import annotations

import pytest

from misstep.plan.state import StageState


@pytest.mark.parametrize("state", StageState)
def test_a_state_is_read_as_it_is_written(state: StageState) -> None:
    assert StageState.parse(str(state)) is state


@pytest.mark.parametrize("value", [None, "", "taken", "Running", 3, [], {}])
def test_anything_else_is_unknown(value: object) -> None:
    assert StageState.parse(value) is StageState.UNKNOWN
