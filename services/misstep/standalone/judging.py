"""Judge all responses of a file with the verifier, once: the verdicts are kept in the output folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from misstep.terms.verdict import Judgement, Verdict

if TYPE_CHECKING:
    from misstep.standalone.folder import CreditFolder
    from misstep.standalone.rows import GivenFile
    from misstep.verification.verifier import Verifier

REPORT_EVERY = 500
GOLD_UNREADABLE = "gold-unreadable"
"""The rule of the verifier for a response to a problem whose gold answer it cannot read."""


def by_response(read: GivenFile, judgements: Sequence[Judgement]) -> dict[tuple[str, int], Judgement]:
    """Return judgements by problem and sample; they are in the order of the problems and their responses."""
    names = ((problem.problem_id, given.sample) for problem in read.problems.values() for given in problem.responses)
    return dict(zip(names, judgements, strict=True))


def judge_file(
    read: GivenFile, verifier: Verifier, folder: CreditFolder | None, report: Callable[[int, int], None]
) -> list[Judgement]:
    """Judge a file's responses, in the order of the problems, or read the verdicts of an earlier run.

    Args:
        folder: where verdicts are kept; None keeps none.
        report: called with the responses judged, and all.
    """
    kept = folder.verdicts() if folder is not None else None
    if kept is not None and len(kept) == read.responses:
        return kept
    found: list[Judgement] = []
    for judgement in _judgements(read, verifier):
        found.append(judgement)
        if len(found) % REPORT_EVERY == 0:
            report(len(found), read.responses)
    return folder.keep_verdicts(found) if folder is not None else found


def _judgements(read: GivenFile, verifier: Verifier) -> Iterator[Judgement]:
    readable = {name: verifier.parse_gold(problem.gold) is not None for name, problem in read.problems.items()}
    pairs = (
        (given.text, problem.gold)
        for name, problem in read.problems.items()
        if readable[name]
        for given in problem.responses
    )
    judged = verifier.judge(pairs)
    for name, problem in read.problems.items():
        for _ in problem.responses:
            yield next(judged) if readable[name] else Judgement(Verdict.UNPARSABLE, None, GOLD_UNREADABLE)
