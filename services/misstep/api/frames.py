"""Figures and states as pandas tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from misstep.evaluation.results_table import cell_rows, point_rows

if TYPE_CHECKING:
    import pandas as pd

    from misstep.evaluation.results import Results


def frame(rows: Sequence[Mapping[str, Any]], *, index: str | None = None) -> pd.DataFrame:
    """Return rows as a table. Whole numbers stay whole where some are missing.

    Raises:
        NotInstalled: pandas is missing.
    """
    from misstep.plan.extras import need

    need("misstep.Experiment", "python")
    import pandas as pd

    table = pd.DataFrame.from_records(list(rows))
    for name in table.columns:
        if {type(value) for value in (row.get(name) for row in rows)} == {int, type(None)}:
            table[name] = pd.array([row.get(name) for row in rows], dtype="Int64")
    return table if index is None or table.empty else table.set_index(index)


def results_frame(results: Results) -> pd.DataFrame:
    """One row for each arm, size and seed. Raises as `frame` does."""
    return frame(point_rows(results))


def summary_frame(results: Results) -> pd.DataFrame:
    """One row for each arm and size, over all seeds. Raises as `frame` does."""
    return frame(cell_rows(results))
