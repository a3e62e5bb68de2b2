"""Check credit against full scans with fresh rollouts, for a sample of the negatives.

Two scans of one response with different rollouts often find different pits. So agreement with one scan is no measure of
truth beyond the scans' agreement with each other: the audit measures both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from misstep.credit.block import CreditedBlock
from misstep.credit.passes import Pass
from misstep.credit.selection import CreditProblem

SCANS = (Pass("full-scan", "audit 1"), Pass("full-scan", "audit 2"))


@dataclass(frozen=True, slots=True)
class Audited:
    """One negative with the pits that two full scans found; a run whose estimator is ``full-scan`` is one of the two,
    and the second is not drawn."""

    problem_id: str
    sample: int
    pit: int | None
    scan_pit: int | None
    rescan_pit: int | None
    steps: int


def scans_for(estimator: str) -> Sequence[Pass]:
    """Return the scans that an audit of an estimator needs."""
    return SCANS[:1] if estimator == "full-scan" else SCANS


def to_audit(problems: Sequence[CreditProblem], percent: int, seed: int) -> list[CreditProblem]:
    """Return the problems with those of their negatives that are audited: about this share, chosen by a hash of each,
    so that a larger share only adds."""
    chosen = []
    for problem in problems:
        negatives = tuple(n for n in problem.negatives if _place(problem.problem_id, n.sample, seed) < percent)
        if negatives and problem.samples.correct:
            chosen.append(replace(problem, negatives=negatives, positives=()))
    return chosen


def _place(problem_id: str, sample: int, seed: int) -> float:
    """Return a number from 0 to below 100."""
    digest = hashlib.blake2b(f"audit\x1f{seed}\x1f{problem_id}\x1f{sample}".encode(), digest_size=8).digest()
    return 100 * int.from_bytes(digest, "big") / 2**64


def audited(credited: CreditedBlock, scans: Sequence[CreditedBlock]) -> list[Audited]:
    """Join credit's pits with those of the scans, in the order of the first scan."""
    pits = {(found.problem_id, found.sample): found.pit for found in credited.negatives}
    first, second = scans[0], scans[1] if len(scans) > 1 else None
    again = [found.pit for found in second.negatives] if second else [None] * len(first.negatives)
    return [
        Audited(
            problem_id=found.problem_id,
            sample=found.sample,
            pit=pits[found.problem_id, found.sample],
            scan_pit=found.pit,
            rescan_pit=rescan,
            steps=len(found.steps.ends),
        )
        for found, rescan in zip(first.negatives, again, strict=True)
    ]


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
