"""The candidates of a search: the arms of an Experiment, each with every setting of its method's grid. Pure.

Arms are searched in rounds. The arms of a round start from models whose settings earlier rounds have chosen: first SFT,
then the arms that start from its model, then arms that start from one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from misstep.spec.arms import Arm
from misstep.spec.experiment import Experiment
from misstep.spec.search import Search
from misstep.spec.training import DpoTraining, Optimisation, RftTraining, SftTraining

Setting = Mapping[str, Any]
"""Field of ``spec.training.METHOD`` -> value."""
_TRAINING: Mapping[str, Callable[[], Optimisation]] = {"sft": SftTraining, "rft": RftTraining, "dpo": DpoTraining}


@dataclass(frozen=True)
class Candidate:
    """An arm with one setting."""

    arm: Arm
    """With the setting, and the candidate's name."""
    setting: Setting
    written: Mapping[str, Any]
    """The setting in the YAML's spelling."""


def candidates(arm: Arm, search: Search) -> list[Candidate]:
    """Return an arm with each setting of its method's grid, in the grid's order.

    If there are several, they are named ``ARM.1``, ``ARM.2``: names that users give have no dot.
    """
    grid = search.grid(arm.method)
    pairs = list(zip(grid.settings(), grid.written(), strict=True))
    return [
        Candidate(with_setting(arm, setting, arm.name if len(pairs) == 1 else f"{arm.name}.{number}"), setting, written)
        for number, (setting, written) in enumerate(pairs, 1)
    ]


def with_setting(arm: Arm, setting: Setting, name: str | None = None) -> Arm:
    """Put a setting into an arm; it replaces the arm's own fields. The arm runs at every size of the search."""
    own = getattr(arm, arm.method) or _TRAINING[arm.method]()
    block = own.model_copy(update=dict(setting))
    return arm.model_copy(update={"name": name or arm.name, "sizes": None, arm.method: block})


def starts_from(arm: Arm, arms: Sequence[Arm]) -> str | None:
    """Return the name of the arm whose model is this arm's policy; None for SFT, which starts from the base model."""
    if arm.method == "sft":
        return None
    return arm.from_arm or next(other.name for other in arms if other.method == "sft")


def rounds(arms: Sequence[Arm]) -> list[list[Arm]]:
    """Sort arms into rounds, each after the arms that it starts from."""
    found: list[list[Arm]] = []
    placed: set[str | None] = {None}
    left = list(arms)
    while left:
        ready = [arm for arm in left if starts_from(arm, arms) in placed]
        assert ready, "the spec refuses arms that start from one another in a circle"
        found.append(ready)
        placed |= {arm.name for arm in ready}
        left = [arm for arm in left if arm.name not in placed]
    return found


def derived(experiment: Experiment, arms: Sequence[Arm]) -> Experiment:
    """Return the Experiment of a round: these arms, at the search's seeds and sizes. It is not validated again, because
    it may have more arms than a user's Experiment."""
    spec = experiment.spec
    assert spec.search is not None
    problems = spec.problems.model_copy(update={"sizes": spec.search_sizes})
    changed = spec.model_copy(update={"arms": list(arms), "seeds": list(spec.search.seeds), "problems": problems})
    return experiment.model_copy(
        update={
            "spec": changed,
            "metadata": experiment.metadata.model_copy(update={"name": search_name(experiment.metadata.name)}),
        }
    )


def search_name(experiment: str) -> str:
    """The name of an experiment's search, in ``misstep status`` and as a folder."""
    return f"{experiment}-search"
