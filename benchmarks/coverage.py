"""How often the report's 95% intervals contain the truth, in simulated experiments, for the present rule and the
previous one.

    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/coverage.py
    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/coverage.py --experiments 2000 --luck 0.08 --problems 1500

Each experiment draws test problems and training seeds from endless populations of both. A problem has a difficulty, the
same for all models, and one for each model; a training has luck, part of it shared by all arms of its seed. SFT's curve
is a known power law, and one arm is worth a known factor. Three statements are tried: that arm's accuracy, its
difference to an arm on random pairs, and its factor by interpolation. "before" resamples seeds by a multinomial
bootstrap, and uses the normal distribution for accuracies.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from misstep.evaluation.curve import FallingCurve
from misstep.evaluation.efficiency import Efficiency
from misstep.evaluation.estimates import Estimate
from misstep.evaluation.resample import GridOutcome
from misstep.evaluation.scores import mean_estimate, wilson

Floats = NDArray[np.float64]
Ends = tuple[float, float]
STATEMENTS = ("accuracy", "difference", "factor")
SIZES = (125, 250, 500, 1000, 2000)
SIZE = 250
_DIFFICULTY, _OWN_DIFFICULTY, _SHARED = 0.8, 0.5, 0.6


@dataclass(frozen=True)
class Setting:
    """The populations from which experiments are drawn."""

    problems: int = 400
    samples: int = 4
    luck: float = 0.05
    """Standard deviation of a DPO arm's accuracy between seeds."""
    sft_luck: float = 0.02
    first_error: float = 0.8
    """SFT's error at the smallest size."""
    b: float = 0.2
    factor: float = 4.0
    gain: float = 0.1
    """True accuracy of the credited arm minus that of random pairs."""

    def error(self, arm: str, size: int) -> float:
        """Return the true error of an arm, over all seeds and all problems."""
        factor = 1.0 if arm == "sft" else self.factor
        return self.first_error * (size * factor / SIZES[0]) ** -self.b + (self.gain if arm == "random" else 0.0)

    @property
    def truth(self) -> dict[str, float]:
        """Statement -> its true value."""
        return {"accuracy": 1.0 - self.error("step", SIZE), "difference": self.gain, "factor": self.factor}


def experiment(setting: Setting, seeds: int, rng: np.random.Generator) -> list[GridOutcome]:
    """Draw one experiment: SFT at all sizes, a credited arm and random pairs at one, each with every seed."""
    arms = [("sft", d) for d in SIZES] + [("random", SIZE), ("step", SIZE)]
    difficulty = rng.normal(0.0, _DIFFICULTY, setting.problems)
    outcomes = []
    for seed in range(seeds):
        common = rng.normal()
        for arm, size in arms:
            luck = _SHARED * common + math.sqrt(1.0 - _SHARED**2) * rng.normal()
            spread = setting.sft_luck if arm == "sft" else setting.luck
            level = _logit_of(np.clip(1.0 - setting.error(arm, size) + spread * luck, 0.002, 0.998))
            own = rng.normal(0.0, _OWN_DIFFICULTY, setting.problems)
            chance = 1.0 / (1.0 + np.exp(-(level + difficulty + own)))
            right = rng.binomial(setting.samples, chance) / setting.samples
            method = "sft" if arm == "sft" else "dpo"
            outcomes.append(GridOutcome(arm, method, size, seed, right, right.size * setting.samples))
    return outcomes


_GRID = np.linspace(-9.0, 9.0, 1801)
_NODES = np.linspace(-4.0, 4.0, 81)
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()
_MEANS = 1.0 / (1.0 + np.exp(-(_GRID[:, None] + math.hypot(_DIFFICULTY, _OWN_DIFFICULTY) * _NODES))) @ _WEIGHTS


def _logit_of(accuracy: Floats) -> Floats:
    """Return the log-odds on a problem of mean difficulty for a model with this accuracy over all problems."""
    return np.interp(accuracy, _MEANS, _GRID)


def intervals_now(outcomes: list[GridOutcome], replicates: int, seed: int) -> dict[str, Ends]:
    """Return statement -> interval by the report's own code; an open end is 0 or infinity."""
    efficiency = Efficiency(outcomes, replicates, seed)
    step, other = (next(c for c in efficiency.cells if c.arm == arm) for arm in ("step", "random"))
    worth = efficiency.worth(step).interpolated
    values = np.stack([outcomes[i].accuracy for i in step.points])
    return {
        "accuracy": _ends(mean_estimate(values, sum(outcomes[i].draws for i in step.points))),
        "difference": _ends(efficiency.difference(step, other)),
        "factor": (worth.low or 0.0, worth.high or math.inf),
    }


def intervals_before(outcomes: list[GridOutcome], replicates: int, seed: int) -> dict[str, Ends]:
    """Return the same by the previous rule: seeds drawn with replacement, the same for all arms."""
    rng = np.random.default_rng(seed)
    seeds = 1 + max(o.seed for o in outcomes)
    errors: dict[tuple[str, int], Floats] = {
        (o.arm, o.size): np.stack([1.0 - p.accuracy for p in outcomes if (p.arm, p.size) == (o.arm, o.size)])
        for o in outcomes
    }
    problems = outcomes[0].accuracy.size
    by_problem = rng.multinomial(problems, np.full(problems, 1.0 / problems), replicates) / problems
    by_seed = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), replicates) / seeds
    drawn = {cell: ((by_problem @ e.T) * by_seed).sum(axis=1) for cell, e in errors.items()}
    step = errors["step", SIZE]
    needed = []
    for row in range(replicates):
        curve = FallingCurve(SIZES, [float(drawn["sft", d][row]) for d in SIZES], [1.0] * len(SIZES))
        needed.append(curve.needed(float(drawn["step", SIZE][row])).as_number() / SIZE)
    variance = step.mean(axis=0).var() / problems + step.mean(axis=1).var(ddof=1) / seeds
    mean = 1.0 - float(step.mean())
    return {
        "accuracy": wilson(mean, mean * (1.0 - mean) / variance),
        "difference": _percentiles(drawn["random", SIZE] - drawn["step", SIZE]),
        "factor": _percentiles(np.array(needed)),
    }


def _ends(estimate: Estimate) -> Ends:
    return estimate.low, estimate.high


def _percentiles(values: Floats) -> Ends:
    low, high = np.quantile(values, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


Rule = Callable[[list[GridOutcome], int, int], dict[str, Ends]]


def simulate(setting: Setting, seeds: int, experiments: int, rule: Rule, replicates: int = 200) -> dict[str, Floats]:
    """Return statement -> intervals of many experiments, shape (experiments, 2)."""
    rng = np.random.default_rng([seeds, setting.problems])
    found = [rule(experiment(setting, seeds, rng), replicates, number) for number in range(experiments)]
    return {statement: np.array([ends[statement] for ends in found]) for statement in STATEMENTS}


def coverage(intervals: Floats, truth: float) -> float:
    """Return the share of intervals, shape (experiments, 2), that contain the truth."""
    return float(((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean())


def main() -> None:
    """Print one line for each number of seeds and rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--replicates", type=int, default=400, help="draws behind each interval")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4, 6])
    parser.add_argument("--problems", type=int, default=Setting.problems)
    parser.add_argument("--samples", type=int, default=Setting.samples)
    parser.add_argument("--luck", type=float, default=Setting.luck, help="SD of a DPO arm's accuracy between seeds")
    parser.add_argument("--sft-luck", type=float, default=Setting.sft_luck, help="the same of SFT")
    args = parser.parse_args()
    setting = Setting(args.problems, args.samples, args.luck, args.sft_luck)
    print(
        f"{setting}, {args.experiments} experiments; in brackets the median half-width in points, or the factor's ends"
    )
    print(f"{'seeds':>5}  {'rule':6}  {'accuracy':>16}  {'difference':>16}  {'factor':>22}")
    rules: dict[str, Rule] = {"before": intervals_before, "now": intervals_now}
    for seeds in args.seeds:
        for name, rule in rules.items():
            found = simulate(setting, seeds, args.experiments, rule, args.replicates)
            shown = [f"{coverage(found[s], setting.truth[s]):.1%} ({_width(found[s], s)})" for s in STATEMENTS]
            print(f"{seeds:>5}  {name:6}  {shown[0]:>16}  {shown[1]:>16}  {shown[2]:>22}", flush=True)


def _width(intervals: Floats, statement: str) -> str:
    low, high = np.median(intervals, axis=0)
    return f"{low:.1f} to {high:.1f}" if statement == "factor" else f"{50 * np.median(np.ptp(intervals, axis=1)):.1f}"


if __name__ == "__main__":
    main()
