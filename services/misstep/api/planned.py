"""What an experiment will run, and what it will cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from misstep.cost import PlanCost
    from misstep.plan.planner import Plan


@dataclass(frozen=True)
class Planned:
    """The stages of an experiment, their cost, and which of them are done. As text it is the totals."""

    plan: Plan
    """The stages, each after its inputs: ``plan.stages`` has names, kinds, keys and parameters."""
    cost: PlanCost
    """What each stage will cost: ``cost.stages[NAME]``."""
    done: frozenset[str]
    """The keys of the stages that have a result."""
    notes: tuple[str, ...] = ()
    """What is unusual about the models, and what was not checked here."""

    def __str__(self) -> str:
        from misstep.cost.show import total_lines

        return "\n".join(total_lines(self.plan, self.cost, self.done))

    def frame(self) -> pd.DataFrame:
        """Return a table with a row for each stage, in the plan's order.

        Columns: ``kind``, ``key``, ``done``, ``needs`` (names of stages), ``shards``, ``generated`` and ``trained``
        (expected tokens), ``hours`` (of one GPU or one core; missing where they are not known), ``gpus``.

        Raises:
            NotInstalled: pandas is missing.
        """
        from misstep.api.frames import frame

        rows = []
        for stage in self.plan.stages:
            cost = self.cost.stages[stage.name]
            rows.append(
                {
                    "stage": stage.name,
                    "kind": stage.kind.value,
                    "key": stage.key,
                    "done": stage.key in self.done,
                    "needs": self.plan.dependencies(stage),
                    "shards": stage.shards,
                    "generated": cost.work.generated,
                    "trained": cost.work.trained,
                    "hours": cost.hours,
                    "gpus": stage.resources.gpus,
                }
            )
        return frame(rows, index="stage")
