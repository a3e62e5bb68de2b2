"""The ways through a block's problems: what is credited, how, and with which draws."""

from __future__ import annotations

from dataclasses import dataclass

from misstep.credit.estimators import EstimatorName
from misstep.credit.selection import CreditProblem, SampledResponse


@dataclass(frozen=True, slots=True)
class Pass:
    """One way through a block's problems.

    ``label`` makes its rollouts other draws than those of other passes; with ``correct`` the problems' positives are
    credited instead of their negatives.
    """

    estimator: EstimatorName
    label: str = ""
    correct: bool = False

    def responses(self, problem: CreditProblem) -> tuple[SampledResponse, ...]:
        """Return the responses that it credits."""
        return problem.positives if self.correct else problem.negatives
