"""Error messages for data that cannot be used: golds, solutions, and dropped rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from misstep.errors import BadInput
from misstep.printable import printable
from misstep.problems.non_answers import WORDS
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    from misstep.problems.formats import Reading
    from misstep.problems.ingest import Counts

_ENDS = {
    "hash": 'a last line such as "#### 18"',
    "boxed": r"a final answer in \boxed{..}",
    "auto": r'"#### 18", \boxed{18} or "The answer is 18."',
}
"""The required end of a solution, by ``verification.answerFormat``."""
_VERDICT_WORDS: dict[str, str] = {
    Verdict.CORRECT: "correct",
    Verdict.WRONG: "wrong",
    Verdict.UNPARSABLE: "undecided",
    Verdict.TIMEOUT: "timed out",
}


def excerpt(text: str, most: int = 80) -> str:
    """Return a text in quotes, without its middle if it is long, since golds are at the end."""
    text = " ".join(text.split())
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-most // 2 :]}"
    return f'"{printable(text)}"'


def reason_words(reasons: Mapping[str, int]) -> str:
    """Return counts in words, the most frequent first: ``4 a sentence, 2 empty``."""
    return ", ".join(f"{count:,} {WORDS.get(reason, reason)}" for reason, count in Counter(reasons).most_common())


def gold_complaint(
    field: str, rows: int, reasons: Counter[str], examples: Sequence[tuple[str, str]], source: Reading | None
) -> BadInput:
    """Return the error for too many problems without a final answer. It advises only changes that affect golds."""
    bad = reasons.total()
    [(chief, _)] = reasons.most_common(1)
    shown = [said for reason, said in examples if reason == chief][:2]
    shown += [said for reason, said in examples if reason != chief][:2]
    percent = -(-100 * bad // rows)
    allow = (
        f" Or drop them: spec.problems.badGoldPercent: {percent} allows this many, and the report counts them."
        if percent <= 60
        else ""
    )
    return BadInput(
        field,
        f"{bad:,} of {rows:,} problems have no final answer to check responses against ({reason_words(reasons)})",
        f"Seen: {'; '.join(shown)}. {_gold_advice(chief, source)}{allow}",
    )


def _gold_advice(reason: str, source: Reading | None) -> str:
    advice = source.advice() if source is not None and source.sample else None
    there = f" The columns are: {source.columns()}." if source is not None and source.sample else ""
    paste = f" Write in {source.place}: {advice}" if source is not None and advice else ""
    match reason:
        case "hash":
            alone = f"If the column holds only final answers, use format: table.{there}"
            return f'A GSM8K answer is a solution that ends in a line such as "#### 18".{paste or f" {alone}"}'
        case "box":
            return f"A MATH solution has its final answer in \\boxed{{..}}.{paste or there}"
        case "marker":
            return f"columns.answerAfter (and answerBefore) must name text that is before every answer.{paste}"
        case "sentence":
            known = (
                " If the answer comes after a mark in it, name that in columns.answerAfter. docs/datasets.md says "
                "what to do with solutions that are only prose."
            )
            return f"columns.answer must name a column of final answers.{paste or there + known}"
        case "empty":
            return f"columns.answer must name the column of final answers.{paste or there}"
        case _:
            return f"Correct or remove these rows{f', or take other answers.{paste}' if paste else f'.{there}'}"


def solutions_complaint(
    problems: int, none: int, verdicts: Mapping[str, int], examples: Mapping[str, str], answer_format: str, columns: str
) -> BadInput:
    """Return the error for training problems without any correct solution.

    Args:
        none: problems without any solution.
        verdicts: verdict -> problems with a solution.
        examples: verdict -> where, gold and end of a solution.
        columns: the columns of the source, for messages; empty if unknown.
    """
    counts = [f"{none:,} without a solution"] if none else []
    counts += [f"{count:,} {_VERDICT_WORDS.get(verdict, verdict)}" for verdict, count in verdicts.items() if count]
    shown = "".join(
        f" {_VERDICT_WORDS.get(verdict, verdict).capitalize()}: {said}." for verdict, said in examples.items()
    )
    undecided = verdicts.get(Verdict.UNPARSABLE.value, 0) + verdicts.get(Verdict.TIMEOUT.value, 0)
    wrong = verdicts.get(Verdict.WRONG.value, 0)
    there = f" The columns are: {columns}." if columns else ""
    if none >= max(undecided, wrong):
        fix = (
            "Set columns.solution to the column of step-by-step solutions, or let a model write them (spec.teacher)."
            f"{there}"
        )
    elif undecided >= wrong:
        fix = (
            f"spec.verification.answerFormat is {answer_format}, so a solution must end in {_ENDS[answer_format]}: "
            "set it to the form in which these end, or name another column in columns.solution."
        )
    else:
        fix = f"They reach other answers than columns.answer has: check that both columns belong together.{there}"
    return BadInput(
        "spec.problems.train",
        f"no teacher solution reaches its problem's final answer: of {problems:,} problems {', '.join(counts)}",
        f"Fine-tuning needs correct solutions. {fix}{shown}",
    )


def dropped_words(counts: Counts, overlapping: int = 0) -> str:
    """Return what happened to a split's rows, for a message: `` (of 40 rows; 5 duplicates dropped)``."""
    parts = [
        f"{count:,} {what}"
        for count, what in (
            (counts.duplicates - counts.held_out, "duplicates"),
            (counts.held_out, "that are held out in another split"),
            (counts.no_question, "without a question"),
            (counts.bad_gold.total(), "without a final answer"),
            (overlapping, "that share a passage with a test problem"),
        )
        if count
    ]
    dropped = f"; dropped: {', '.join(parts)}" if parts else ""
    return f" (of {counts.rows:,} rows{dropped})"
