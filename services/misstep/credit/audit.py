"""Check credit against full scans with fresh rollouts, for a sample of the negatives.

Two scans of one response with different rollouts often find different pits. So agreement with one scan is no measure of
truth beyond the scans' agreement with each other: the audit measures both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from misstep.credit.block import CreditedBlock
from misstep.credit.passes import Pass
from misstep.credit.selection import CreditProblem
from misstep.plan.params import CreditParams
from misstep.terms.keyed import keyed_hash

SCANS = (Pass("full-scan", "audit 1"), Pass("full-scan", "audit 2"))


@dataclass(frozen=True, slots=True)
class Audited:
    """One negative with the pits that two full scans found; a run whose estimator is ``full-scan`` is one of the two,
    and the second is not drawn."""

    problem_id: str
    sample: int
    pit: int | None
    """Credit's."""
    scan_pit: int | None
    rescan_pit: int | None
    steps: int


def scans_for(estimator: str) -> Sequence[Pass]:
    """Return the scans that an audit of an estimator needs."""
    return SCANS[:1] if estimator == "full-scan" else SCANS


def to_audit(problems: Sequence[CreditProblem], params: CreditParams) -> list[CreditProblem]:
    """Return the problems with those of their negatives that are audited: about ``audit_percent``, chosen by a hash of
    each, so that a larger share only adds. Problems that no sample of many solved have no pits, and are left out."""
    chosen = []
    for problem in problems:
        if problem.samples.correct or problem.samples.rollouts < params.best_of:
            places = ((n, _place(problem.problem_id, n.sample, params.seed)) for n in problem.negatives)
            negatives = tuple(negative for negative, place in places if place < params.audit_percent)
            chosen += [replace(problem, negatives=negatives, positives=())] if negatives else []
    return chosen


def _place(problem_id: str, sample: int, seed: int) -> float:
    """Return a number from 0 to below 100."""
    return 100 * int.from_bytes(keyed_hash("audit", seed, problem_id, sample), "big") / 2**64


def audited(credited: CreditedBlock, scans: Sequence[CreditedBlock]) -> list[Audited]:
    """Join credit's pits with those of the scans, in the order of the first scan. A negative of which credit found no
    pit, because its problem was never solved, is left out."""
    pits = {(found.problem_id, found.sample): found.pit for found in credited.negatives}
    first, second = scans[0], scans[1] if len(scans) > 1 else None
    again = [found.pit for found in second.negatives] if second else [None] * len(first.negatives)
    rows = (
        Audited(
            problem_id=found.problem_id,
            sample=found.sample,
            pit=pits[found.problem_id, found.sample],
            scan_pit=found.pit,
            rescan_pit=rescan,
            steps=len(found.steps.ends),
        )
        for found, rescan in zip(first.negatives, again, strict=True)
    )
    return [row for row in rows if row.pit is not None]


def audit_counts(rows: Sequence[Audited], scans: Sequence[CreditedBlock]) -> dict[str, int]:
    """Count agreements, and what the scans cost: distinct prefixes that were rolled out, and their tokens."""
    prefixes = [prefix for scan in scans for prefix in scan.prefixes if prefix.rollouts and prefix.token_ids]
    two = len(scans) > 1
    return {
        "negatives": len(rows),
        "same_pit": sum(row.pit == row.scan_pit for row in rows),
        "scans_same_pit": sum(row.scan_pit == (row.rescan_pit if two else row.pit) for row in rows),
        "scan_prefixes": len(prefixes),
        "scan_tokens": sum(len(rollout.token_ids) for prefix in prefixes for rollout in prefix.rollouts),
    }
