"""What a plan will cost: work, tokens, hours and memory, from written formulas (docs/cost.md). Pure."""

from misstep.cost.architecture import Architecture
from misstep.cost.stage import PlanCost, StageCost, plan_cost

__all__ = ["Architecture", "PlanCost", "StageCost", "plan_cost"]
