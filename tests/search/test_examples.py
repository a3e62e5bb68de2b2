"""The settings in the examples are in their own grids: nobody has edited the choices of `misstep tune`."""

from __future__ import annotations

from pathlib import Path

import pytest

from misstep.spec.load import load_experiment
from misstep.spec.training import over

EXAMPLES = Path(__file__).parents[2] / "examples"
SEARCHED = [path for path in sorted(EXAMPLES.glob("*.yaml")) if "\n  search:" in path.read_text()]


@pytest.mark.parametrize("path", SEARCHED, ids=lambda path: path.stem)
def test_every_arm_has_a_setting_of_its_grid(path: Path) -> None:
    spec = load_experiment(path).spec
    assert spec.search is not None
    for arm in spec.arms:
        base, own = getattr(spec.training, arm.method), getattr(arm, arm.method)
        settings = base if own is None else over(base, own)
        grid = spec.search.grid(arm.method)
        assert {name: getattr(settings, name) for name in grid.lists} in grid.settings(), arm.name


def test_the_quickstart_and_its_full_form_share_what_they_have_in_common() -> None:
    """One search froze both, and stages that one has done are not done again by the other."""
    short, full = (load_experiment(EXAMPLES / f"{name}.yaml").spec for name in ("quickstart", "quickstart-full"))
    arms = {arm.name: arm.model_copy(update={"sizes": None}) for arm in full.arms}
    for arm in short.arms:
        assert arm.model_copy(update={"sizes": None}) == arms[arm.name]
    for part in ("training", "sampling", "credit", "pairs", "evaluation", "search", "policy"):
        assert getattr(short, part) == getattr(full, part), part
    assert set(short.problems.sizes) <= set(full.problems.sizes)
    assert set(short.seeds) <= set(full.seeds)
