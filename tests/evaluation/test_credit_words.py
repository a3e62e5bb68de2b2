"""What the report says about the quality of credit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scipy import stats

from misstep.evaluation.scores import wilson
from misstep.terms.first_error import VALUE_OR_JUDGEMENT
from tests.evaluation.conftest import Made
from tests.evaluation.test_report import SMALL, words

Report = Callable[..., Made]
SUMMARY: dict[str, Any] = {
    "estimator": "adaptive",
    "rollouts_unneeded": 7,
    "doubt_millionths": 4_000_000,
    "scannable_prefixes": 1000,
    "audit": {"negatives": 20, "same_pit": 17, "scans_same_pit": 16, "scan_prefixes": 60, "scan_tokens": 3600},
    "true_errors": {"exact": 45, "before": 2, "after": 2, "no_pit": 1},
    "positives": {"responses": 10, "lucky": 1, "rollouts": 100, "generated_tokens": 900},
}


def test_the_report_shows_agreement_cost_doubt_and_true_errors(report: Report) -> None:
    made = report(**SMALL, credit_summary=SUMMARY)
    policies = made.results.credit
    for credit in policies:
        assert credit.audit is not None
        assert credit.audit.agreement.value == 17 / 20
        interval = (credit.audit.scans_agreement.low, credit.audit.scans_agreement.high)
        assert interval == pytest.approx(wilson(16 / 20, 20), abs=1e-5)
        # A scan of all 1,000 prefixes at 60 tokens each.
        assert credit.audit.cost == pytest.approx(credit.generated_tokens / 60_000, abs=1e-5)
        assert credit.expected_false == pytest.approx(4 / credit.pits, abs=1e-5)
        assert credit.true_errors is not None
        assert credit.true_errors.wrong_accuracy.value == 45 / 50
        assert credit.true_errors.right_accuracy is not None
        assert credit.true_errors.right_accuracy.value == 9 / 10
        assert credit.true_errors.f1 == pytest.approx(0.9)
    text = words(made.html)
    count = len(policies)
    assert f"Audit: {20 * count} wrong solutions were also fully scanned with fresh rollouts." in text
    assert "The pit is the scan’s in 85.0%" in text
    assert "two scans agree with each other in 80.0%" in text
    share = sum(c.generated_tokens for c in policies) / (60_000 * count)
    assert f"Credit generated {share:.2f} of the tokens" in text
    assert "the pit is the true one in 90.0% (" in text
    assert f"before it in {2 * count}, after it in {2 * count}, and {count} have no pit." in text
    assert "F1, the harmonic mean of both as in ProcessBench: 90.0%." in text
    assert VALUE_OR_JUDGEMENT in text
    assert f"Of {10 * count} credited correct solutions, {count} (10.0%) hold a step" in text
    doubt = 4 * count / sum(c.pits for c in policies)
    assert f"credit expects {100 * doubt:.1f}% of its pits to be at another step" in text
    assert "not needed" in text


def test_without_an_audit_nothing_is_said_of_one(report: Report) -> None:
    made = report(**SMALL)
    assert "How good credit is" not in words(made.html)
    assert all(c.audit is None and c.true_errors is None and c.expected_false is None for c in made.results.credit)


def test_a_task_without_credited_positives_has_no_f1(report: Report) -> None:
    positives = {"responses": 0, "lucky": 0, "rollouts": 0, "generated_tokens": 0}
    made = report(**SMALL, credit_summary=SUMMARY | {"positives": positives})
    found = made.results.credit[0].true_errors
    assert found is not None
    assert (found.right, found.right_accuracy, found.f1) == (0, None, None)
    assert "F1" not in words(made.html)


@pytest.mark.parametrize("audited", [20, 60, 300])
def test_the_intervals_of_shares_hold_the_truth_as_often_as_they_say(audited: int) -> None:
    """Exact coverage of the 95% interval, as the mean over true shares from 0.6 to 0.98."""
    intervals = [wilson(count / audited, audited) for count in range(audited + 1)]
    coverage = []
    for percent in range(60, 99):
        truth = percent / 100
        chances = stats.binom.pmf(range(audited + 1), audited, truth)
        holds = (low <= truth <= high for low, high in intervals)
        coverage.append(sum(chance for chance, held in zip(chances, holds, strict=True) if held))
    assert sum(coverage) / len(coverage) == pytest.approx(0.95, abs=0.02)
