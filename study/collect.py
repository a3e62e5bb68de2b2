"""Collect the study's figures from the store of its finished Experiments into `study/figures.json`.

    python study/collect.py [--store URI]

Experiments and arms that are not finished are left out, and named.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from misstep.artifacts.manifest import NotCommittedError
from study import figures
from study.design import LONG, SHORT, designs
from study.figures import Arm, Credit, Figures, difference, estimate
from study.finished import STORE, Finished, Outcomes

USUAL = {task.usual: task.format for task in (SHORT, LONG)}
"""The Experiment in which nothing is varied -> its task."""


def main() -> int:
    """Collect what is there; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default=STORE, help="URI of the store (default: %(default)s)")
    options = parser.parse_args()
    before = figures.read() if figures.FILE.exists() else Figures({}, {})
    arms: dict[str, dict[str, Arm]] = {}
    credit: dict[str, Credit] = {}
    counted: set[tuple[str, ...]] = set()
    usual: dict[str, dict[str, Outcomes]] = {}
    for design in sorted(designs(), key=lambda one: one.name not in USUAL):
        finished = Finished(design.name, options.store)
        outcomes = {arm: found for arm in finished.arms if (found := finished.outcomes(arm)) is not None}
        missing = [arm for arm in finished.arms if arm not in outcomes]
        if missing:
            print(f"{design.name}: not finished: {', '.join(missing)}", file=sys.stderr)
        task = design.experiment["spec"]["problems"]["train"]["format"]
        if design.name in USUAL:
            usual[task] = outcomes
        if outcomes:
            arms[design.name] = {arm: _arm(finished, arm, outcomes, usual.get(task, {})) for arm in outcomes}
        keys = tuple(map(finished.key, finished.credit))
        if keys not in counted and (made := _credit(finished)) is not None:
            credit[design.name] = made
            counted.add(keys)
    if not arms:
        print(f"nothing is finished in {options.store}: run study/run.py first. The figures stay as they are.")
        return 1
    order = [design.name for design in designs()]
    figures.write(
        Figures(
            {name: arms[name] for name in order if name in arms},
            {name: credit[name] for name in order if name in credit},
            before.gradients,
        )
    )
    return 0


def _arm(finished: Finished, arm: str, outcomes: dict[str, Outcomes], usual: dict[str, Outcomes]) -> Arm:
    mine = outcomes[arm]
    against = {other: difference(mine, theirs) for other, theirs in outcomes.items() if other != arm}
    if arm in usual and usual[arm] is not mine:
        against["usual"] = difference(mine, usual[arm])
    points = finished.points(arm)
    trained = [finished.summary(point) for point in points]
    rows = fmean(each["rows"] for each in trained)
    tokens = fmean(each["tokens"] for each in trained)
    pairs = [finished.summary(f"pairs-{point}") for point in points if finished.has(f"pairs-{point}")]
    cuts = [(each["cut_at_pit"], each["pairs"]) for each in pairs if "cut_at_pit" in each]
    at_pit = sum(at for at, _ in cuts) / sum(of for _, of in cuts) if cuts else None
    return Arm(estimate(mine), tuple(mine.mean(axis=1).tolist()), against, rows, tokens, at_pit)


def _credit(finished: Finished) -> Credit | None:
    try:
        found = [finished.summary(name) for name in finished.credit]
    except NotCommittedError:
        return None
    places = sum((Counter(each["true_errors"]) for each in found), Counter())
    totals = {name: sum(each[name] for each in found) for name in ("rollouts", "generated_tokens", "negatives", "pits")}
    return Credit(
        rollouts=totals["rollouts"],
        tokens=totals["generated_tokens"],
        negatives=totals["negatives"],
        pits=totals["pits"],
        true_pits=places["exact"] / places.total(),
    )


if __name__ == "__main__":
    sys.exit(main())
