"""The accuracies in a report, with their types checked and compared with the plan. Pure.

Anyone may have written a manifest in a store. Its arms and sizes become labels of metrics, and one wrong label would
break the metrics of everyone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from misstep.plan.frozen import FrozenStage
from misstep.plan.params import ReportParams

Accuracies = Mapping[tuple[str, str], float]
"""Arm and size -> accuracy, from 0 to 1."""


class _Cell(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    arm: str
    size: str
    accuracy: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def points_of(report: FrozenStage) -> frozenset[tuple[str, str]]:
    """Return arm and size of each cell that the report can have."""
    try:
        params = ReportParams.model_validate(report.params)
    except ValidationError:  # the plan of an earlier version
        return frozenset()
    return frozenset((point.arm, str(point.size)) for point in params.grid)


def accuracies_of(summary: Mapping[str, Any], points: frozenset[tuple[str, str]]) -> Accuracies:
    """Read a report's summary. Cells that are not in the plan are left out, and of equal ones all but the first."""
    cells = summary.get("cells")
    found: dict[tuple[str, str], float] = {}
    for each in cells if isinstance(cells, list) else ():
        try:
            cell = _Cell.model_validate(each)
        except ValidationError:
            continue
        if (cell.arm, cell.size) in points:
            found.setdefault((cell.arm, cell.size), cell.accuracy)
    return found
