"""The cost of a plan: work, tokens, hours and memory, by the formulas of docs/cost.md. Pure."""

from misstep.plan.cost.architecture import Architecture
from misstep.plan.cost.stage import PlanCost, StageCost, plan_cost

__all__ = ["Architecture", "PlanCost", "StageCost", "plan_cost"]
