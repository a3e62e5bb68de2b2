"""Which artifact of an experiment is meant: one model, or the data of one size and seed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from misstep.errors import BadInput
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.plan.params import GridPoint, ReportParams
from misstep.plan.planner import Plan
from misstep.text import did_you_mean


class What(StrEnum):
    """What is published."""

    MODEL = "model"
    PAIRS = "pairs"
    CREDIT = "credit"
    SAMPLES = "samples"

    @property
    def role(self) -> str:
        """The role among the report's inputs. Samples are published with their verdicts, which name the samples."""
        return "verdicts" if self is What.SAMPLES else self.value


@dataclass(frozen=True)
class Choice:
    """One artifact of a plan."""

    what: What
    point: GridPoint
    """The grid point that has it; of several with the same data the first."""
    stage: FrozenStage
    others: tuple[str, ...]
    """What could have been chosen instead, where the caller left something open: ``250 problems, seed 1``."""

    @property
    def name(self) -> str:
        """A short name: ``quickstart-dpo-step-d125-s0`` without the experiment's part."""
        return self.stage.name if self.what is not What.SAMPLES else self.stage.name.replace("verify", "samples", 1)


def choose(plan: Plan, what: What, arm: str | None, size: int | None, seed: int | None) -> Choice:
    """Choose by arm, size and seed. Without a size the largest is taken, without a seed the lowest.

    Raises:
        BadInput: the plan is a search's, something is not in it, or the arm is left open where arms differ.
    """
    if plan.report.kind is not StageKind.REPORT:
        raise BadInput("experiment", plan.experiment, "A search has no models to publish: name the experiment itself.")
    params = plan.report.typed_params()
    assert isinstance(params, ReportParams)
    inputs = plan.report.inputs
    found = {
        point: inputs[f"{what.role}_{number}"]
        for number, point in enumerate(params.grid)
        if f"{what.role}_{number}" in inputs
    }
    if not found:
        raise BadInput("--data", what.value, "No arm of the experiment has any.")
    found = _of_arm(found, params.grid, what, arm)
    where = f"--arm {arm}" if arm is not None else f"--data {what.value}"
    left_open = size is None or seed is None
    sizes = sorted({point.size for point in found})
    size = sizes[-1] if size is None else _known("--size", size, sizes, where)
    seeds = sorted({point.seed for point in found if point.size == size})
    seed = seeds[0] if seed is None else _known("--seed", seed, seeds, f"{where} --size {size}")
    at = [point for point in found if (point.size, point.seed) == (size, seed)]
    if len({found[point] for point in at}) > 1:
        arms = ", ".join(dict.fromkeys(point.arm for point in at))
        raise BadInput("--arm", "not given", f"Its arms have different {what.value}. Name one of {arms}.")
    others = {(point.size, point.seed) for point in found} - {(size, seed)}
    return Choice(
        what=what,
        point=at[0],
        stage=plan.by_key[found[at[0]]],
        others=tuple(f"{s:,} problems, seed {n}" for s, n in sorted(others)) if left_open else (),
    )


def _of_arm(
    found: dict[GridPoint, str], grid: Sequence[GridPoint], what: What, arm: str | None
) -> dict[GridPoint, str]:
    having = list(dict.fromkeys(point.arm for point in found))
    if arm is None:
        if what is not What.MODEL:
            return found
        raise BadInput("--arm", "not given", f"Say which model. The arms are {', '.join(having)}.")
    if arm not in {point.arm for point in grid}:
        otherwise = f"The arms are {', '.join(having)}."
        raise BadInput("--arm", arm, f"The experiment has no such arm. {did_you_mean(arm, having, otherwise)}")
    if arm not in having:
        raise BadInput("--arm", arm, f"It has no {what.value}. Arms that have: {', '.join(having)}.")
    return {point: key for point, key in found.items() if point.arm == arm}


def _known(option: str, given: int, known: Sequence[int], where: str) -> int:
    if given not in known:
        raise BadInput(option, given, f"{where} has {', '.join(map(str, known))}.")
    return given
