"""Compute `Results` from gathered inputs: estimates of every arm and size, factors, and conclusions. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from misstep.evaluation.conclusion import conclude
from misstep.evaluation.efficiency import Efficiency, median_factor
from misstep.evaluation.estimates import Estimate
from misstep.evaluation.gather import Gathered, PointOutcomes
from misstep.evaluation.headline import headline
from misstep.evaluation.notes import find_notes
from misstep.evaluation.resample import Cell as GridCell
from misstep.evaluation.resample import GridOutcome
from misstep.evaluation.results import Answers, Cell, Comparison, Point, Results
from misstep.evaluation.scores import VERDICTS, mean_estimate, pass_at_k
from misstep.plan.params import ReportParams
from misstep.terms.layouts import CREDITED, OPPONENTS


def analyse(gathered: Gathered, params: ReportParams) -> Results:
    """Compute all results of a report; the same inputs and ``params.bootstrap_seed`` give the same figures."""
    outcomes = gathered.outcomes
    points = tuple(_point(o) for o in outcomes)
    efficiency = (
        Efficiency([_grid_outcome(o) for o in outcomes], params.bootstrap, params.bootstrap_seed) if outcomes else None
    )
    grid_cells = efficiency.cells if efficiency else []
    cells = tuple(_cell(efficiency, c, [outcomes[i] for i in c.points]) for c in grid_cells if efficiency)
    draft = Results(
        title=params.title,
        test_problems=len(outcomes[0].samples) if outcomes else 0,
        seeds=tuple(sorted({o.point.seed for o in outcomes})),
        sizes=tuple(sorted({o.point.size for o in outcomes})),
        bootstrap=params.bootstrap,
        yardstick=efficiency.yardstick if efficiency else None,
        fit=efficiency.fit if efficiency else None,
        no_fit=efficiency.no_fit if efficiency else "No test problem was sampled.",
        cells=cells,
        comparisons=tuple(_comparisons(efficiency, cells, points)) if efficiency else (),
        median_factors=_medians(cells),
        points=points,
        sampled=tuple(gathered.sampled),
        credit=tuple(gathered.credit),
        problems=gathered.problems,
        prompt=gathered.prompt,
        conclusion="",
        notes=(),
    )
    notes = find_notes(draft, gathered.unsampled)
    words = {"headline": headline(draft), "conclusion": conclude(draft), "notes": tuple(notes)}
    return draft.model_copy(update=words)


def _grid_outcome(outcome: PointOutcomes) -> GridOutcome:
    training = outcome.training
    return GridOutcome(
        arm=outcome.point.arm,
        method=outcome.point.method,
        size=outcome.point.size,
        seed=outcome.point.seed,
        accuracy=outcome.correct / outcome.samples,
        draws=int(outcome.samples.sum()),
        untrained=None if training.trained else training.reason or "there was nothing to train on",
    )


def _point(outcome: PointOutcomes) -> Point:
    point = outcome.point
    return Point(
        arm=point.arm,
        method=point.method,
        layout=point.layout,
        size=point.size,
        seed=point.seed,
        from_arm=point.from_arm,
        problems=len(outcome.samples),
        answers=outcome.answers,
        pass_at={k: _pass_at([outcome], k) for k in outcome.pass_at},
        maj_at={k: _majority([outcome]) for k in outcome.maj_at},
        notes=outcome.notes,
        training=outcome.training,
        pairs=outcome.pairs,
    )


def _cell(efficiency: Efficiency, cell: GridCell, outcomes: Sequence[PointOutcomes]) -> Cell:
    """Average over seeds; pass@k and maj@k only if every seed has them."""
    point = outcomes[0].point
    common = [set(o.pass_at) for o in outcomes], [set(o.maj_at) for o in outcomes]
    pass_at, maj_at = (sorted(set.intersection(*sets)) for sets in common)
    return Cell(
        arm=point.arm,
        method=point.method,
        layout=point.layout,
        size=point.size,
        seeds=tuple(o.point.seed for o in outcomes),
        from_arm=point.from_arm,
        pass_at={k: _pass_at(outcomes, k) for k in pass_at},
        maj_at={k: _majority(outcomes) for k in maj_at},
        answers=Answers(
            **{name: sum(getattr(o.answers, name) for o in outcomes) for name in ("samples", *VERDICTS, "cut_off")}
        ),
        worth=efficiency.worth(cell),
    )


def _pass_at(outcomes: Sequence[PointOutcomes], k: int) -> Estimate:
    values = [[pass_at_k(int(n), int(c), k) for n, c in zip(o.samples, o.correct, strict=True)] for o in outcomes]
    return mean_estimate(np.array(values), int(sum(o.samples.sum() for o in outcomes)))


def _majority(outcomes: Sequence[PointOutcomes]) -> Estimate:
    values = np.array([o.majority for o in outcomes])
    return mean_estimate(values, values.size)


def _comparisons(efficiency: Efficiency, cells: Sequence[Cell], points: Sequence[Point]) -> list[Comparison]:
    """Compare each credited arm with each arm of the same size whose pairs use no credit: the effect of credit itself.

    An opponent starts from the SFT policy, or from the same arm as the credited one.
    """
    untrained = {(o.arm, o.size) for o in efficiency.outcomes if o.untrained}
    accuracy: dict[tuple[str, int], dict[int, float]] = {}
    for point in points:
        accuracy.setdefault((point.arm, point.size), {})[point.seed] = point.pass_at[1].value
    pairs = [
        (cell, grid_cell)
        for cell, grid_cell in zip(cells, efficiency.cells, strict=True)
        if (cell.arm, cell.size) not in untrained
    ]
    return [
        Comparison(
            arm=cell.arm,
            against=other.arm,
            size=cell.size,
            difference=efficiency.difference(grid_cell, grid_other),
            by_seed={
                seed: accuracy[cell.arm, cell.size][seed] - accuracy[other.arm, other.size][seed]
                for seed in cell.seeds
                if seed in other.seeds
            },
        )
        for cell, grid_cell in pairs
        if cell.layout in CREDITED
        for other, grid_other in pairs
        if other.layout in OPPONENTS and other.size == cell.size and other.from_arm in (None, cell.from_arm)
    ]


def _medians(cells: Sequence[Cell]) -> dict[str, float]:
    by_arm = {
        arm: {c.size: c.worth.interpolated for c in cells if c.arm == arm}
        for arm in dict.fromkeys(c.arm for c in cells)
    }
    medians = {arm: median_factor(worths) for arm, worths in by_arm.items()}
    return {arm: median for arm, median in medians.items() if median is not None}
