"""The cost of a plan: work, tokens, hours and memory, by the formulas of docs/cost.md. Pure."""

from misstep.cost.architecture import Architecture
from misstep.cost.stage import PlanCost, StageCost, plan_cost

__all__ = ["Architecture", "PlanCost", "StageCost", "plan_cost"]
