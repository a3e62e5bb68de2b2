"""Walk through a search round by round; each round starts from the settings that earlier rounds have chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from misstep.plan.frozen import External
from misstep.plan.judging import Judging
from misstep.plan.planner import Plan, joined, plan_search
from misstep.search.grid import Candidate, candidates, derived, rounds, with_setting
from misstep.search.result import ArmResult, SearchResult, arm_result
from misstep.spec.arms import Arm
from misstep.spec.experiment import Experiment

Judge = Callable[[Plan, frozenset[str]], Mapping[str, float] | None]
"""Called with all stages so far and the keys of the needed ``score`` stages; returns key -> pass@1, or None if these
are not known and will not be."""


@dataclass(frozen=True)
class Walked:
    """The result of a walk."""

    plan: Plan
    """The stages of all rounds. After a round that was not judged, later rounds start from the first setting of its
    grid: another choice changes their keys, not their number."""
    tried: Mapping[str, list[Candidate]]
    """Arm -> what is tried for it."""
    result: SearchResult | None
    """None if a round was not judged."""


def walk(experiment: Experiment, externals: Mapping[str, External], judging: Judging, judge: Judge) -> Walked:
    """Go through the rounds of a search."""
    spec = experiment.spec
    search = spec.search
    assert search is not None
    frozen: list[Arm] = []
    plans: list[Plan] = []
    tried: dict[str, list[Candidate]] = {}
    results: dict[str, ArmResult] = {}
    for searched in rounds(spec.arms):
        new = {arm.name: candidates(arm, search) for arm in searched}
        tried |= new
        arms = [*frozen, *(candidate.arm for each in new.values() for candidate in each)]
        planned, scores = plan_search(derived(experiment, arms), externals, judging)
        plans.append(planned)
        names = {candidate.arm.name for each in new.values() for candidate in each}
        wanted = {(point.arm, point.size, point.seed): key for point, key in scores.items() if point.arm in names}
        found = judge(joined(plans), frozenset(wanted.values()))
        for arm in searched:
            best = 0
            if found is not None:
                accuracies = {at: found[key] for at, key in wanted.items()}
                grid = search.grid(arm.method)
                results[arm.name] = arm_result(
                    arm.name, new[arm.name], grid, accuracies, spec.search_sizes, search.seeds
                )
                best = results[arm.name].chosen
            frozen.append(with_setting(arm, new[arm.name][best].setting))
    result = SearchResult(
        experiment=experiment.metadata.name,
        seeds=list(search.seeds),
        sizes=spec.search_sizes,
        choosing_problems=judging.skip,
        judging_problems=judging.problems,
        samples=spec.evaluation.samples,
        arms=[results[arm.name] for arm in spec.arms] if len(results) == len(spec.arms) else [],
    )
    return Walked(joined(plans), tried, result if result.arms else None)
