"""How far an experiment is, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from misstep.plan.state import StageState

if TYPE_CHECKING:
    import pandas as pd

    from misstep.runner.status import Row


@dataclass(frozen=True)
class Status:
    """The state of every stage, at the moment it was asked for. As text it is one line."""

    experiment: str
    rows: tuple[Row, ...]
    """A row for each stage, in the plan's order: ``stage``, ``key``, ``state``, ``took``, ``detail``, ``warning``."""

    def __str__(self) -> str:
        return f"{self.experiment}: {self.done} of {len(self.rows)} stages done"

    @property
    def done(self) -> int:
        """How many stages have a result."""
        return sum(row.state is StageState.DONE for row in self.rows)

    @property
    def finished(self) -> bool:
        """Whether all stages have a result."""
        return self.done == len(self.rows)

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table. Raises NotInstalled where pandas is missing."""
        from misstep.api.frames import frame

        return frame([row.as_dict() for row in self.rows], index="stage")
