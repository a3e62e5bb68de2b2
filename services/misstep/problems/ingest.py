"""Check raw problems and split them: duplicates, unusable golds, overlap with the test set, validation."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from misstep.errors import BadInput
from misstep.problems.complaints import dropped_words, excerpt, gold_complaint
from misstep.problems.formats import Reading
from misstep.problems.non_answers import WORDS, why_no_answer
from misstep.problems.overlap import overlapping
from misstep.problems.raw import RawProblem, normalised, problem_id

EXAMPLES_OF_A_REASON = 3
ROWS_TRIED = 4
"""The most rows of one problem whose solutions are kept, to be tried until one is correct: each costs memory."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A checked problem of one split."""

    problem_id: str
    split: str
    question: str
    gold: str
    solution: str | None
    further_solutions: tuple[str, ...] = ()
    """Solutions of later rows with the same question and gold, tried if the first is not correct."""


@dataclass
class Counts:
    """What happened to the rows of one split."""

    rows: int = 0
    no_question: int = 0
    duplicates: int = 0
    held_out: int = 0
    """Duplicates of problems in an earlier split, which are held out."""
    other_answers: int = 0
    """Duplicates whose answer is spelled differently from that of the kept problem."""
    bad_gold: Counter[str] = field(default_factory=Counter)
    """Reason, a key of ``non_answers.WORDS`` -> problems."""
    examples: list[tuple[str, str]] = field(default_factory=list)
    """(reason, location and text) of some of them, a few for each reason."""
    remarks: Counter[str] = field(default_factory=Counter)
    """Description of what reading left out or found odd -> rows."""

    @property
    def dropped(self) -> int:
        return self.no_question + self.duplicates + self.bad_gold.total()


@dataclass
class Ingest:
    """Checked problems, and what was left out by split and reason."""

    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, Counts] = field(default_factory=dict)
    held_out_in_training: int = 0
    """Test problems (in a search: validation problems) that share an n-gram with a training problem."""
    left_out_of_training: int = 0

    def by_split(self, name: str) -> dict[str, int]:
        """Return one count of each split that has any: ``duplicates``, ``rows``."""
        found = {split: getattr(counts, name) for split, counts in self.counts.items()}
        return {
            split: count.total() if isinstance(count, Counter) else count for split, count in found.items() if count
        }


def check_split(
    into: Ingest,
    split: str,
    raw: Iterable[RawProblem],
    readable: Callable[[str], bool],
    bad_gold_percent: int,
    limit: int | None,
    seen: dict[str, int],
) -> None:
    """Check the problems of one split and add them.

    Args:
        raw: the problems; for a `Reading`, the errors say which fields would read it better.
        readable: returns whether the verifier can read a gold answer.
        seen: normalised questions kept so far, of splits that must not share problems, with their positions in
            ``into.problems``; new ones are added.

    Raises:
        BadInput: there are no problems, or too many without a question or without a final answer.
    """
    counts = into.counts.setdefault(split, Counts())
    for problem in raw:
        if limit is not None and counts.rows >= limit:
            break
        counts.rows += 1
        counts.remarks.update(problem.remarks)
        text = normalised(problem.question)
        if not text:
            counts.no_question += 1
            continue
        at = seen.get(text)
        if at is not None:
            counts.duplicates += 1
            _note_duplicate(into, counts, at, split, problem)
        elif reason := _why_no_gold(problem, readable):
            counts.bad_gold[reason] += 1
            if sum(known == reason for known, _ in counts.examples) < EXAMPLES_OF_A_REASON:
                counts.examples.append((reason, f"{problem.where}: {excerpt(problem.said or problem.gold)}"))
        else:
            seen[text] = len(into.problems)
            name = problem.source_id or problem_id(problem.question)
            into.problems.append(Problem(name, split, problem.question, problem.gold, problem.solution))
    source = raw if isinstance(raw, Reading) else None
    _refuse_bad(into, split, source.field if source else f"spec.problems.{split}", bad_gold_percent, source)


def _why_no_gold(problem: RawProblem, readable: Callable[[str], bool]) -> str:
    """Why a problem has no gold, as a key of ``non_answers.WORDS``; empty if it has one."""
    return problem.reason or why_no_answer(problem.gold) or ("" if readable(problem.gold) else "unreadable")


def _note_duplicate(into: Ingest, counts: Counts, at: int, split: str, problem: RawProblem) -> None:
    """Count a further row of a kept problem, and keep its solution in case the kept one is not correct."""
    kept = into.problems[at]
    counts.held_out += kept.split != split
    if problem.gold != kept.gold:
        counts.other_answers += not (problem.reason or why_no_answer(problem.gold))
    elif kept.split == split == "train" and problem.solution:
        if kept.solution is None:
            into.problems[at] = replace(kept, solution=problem.solution)
        elif len(kept.further_solutions) < ROWS_TRIED - 1:
            into.problems[at] = replace(kept, further_solutions=(*kept.further_solutions, problem.solution))


def _refuse_bad(into: Ingest, split: str, field: str, percent: int, source: Reading | None) -> None:
    counts = into.counts[split]
    there = f" The columns are: {source.columns()}." if source is not None and source.sample else ""
    if counts.rows == 0:
        raise BadInput(field, "an empty data set", "Give a source that holds problems.")
    if counts.no_question * 100 > percent * counts.rows:
        raise BadInput(
            field,
            f"{counts.no_question} of {counts.rows} rows have no question",
            f"Set columns.question to the column that holds it, and questionAfter and questionBefore to marks that are "
            f"in every row; or allow more with spec.problems.badGoldPercent.{there}",
        )
    if counts.bad_gold.total() * 100 > percent * counts.rows:
        raise gold_complaint(field, counts.rows, counts.bad_gold, counts.examples, source)
    kept = [p for p in into.problems if p.split == split]
    if len(kept) == 1 and counts.duplicates - counts.held_out == counts.rows - 1 > 1:
        raise BadInput(
            field,
            f"all {counts.rows} rows have the same question, {excerpt(kept[0].question)}",
            f"Set columns.question to the column of problems.{there}",
        )
    if counts.held_out == counts.rows:
        raise BadInput(
            field,
            f"all {counts.rows} questions are in held-out problems too",
            "A problem in both is held out. Give other problems to train on, or a limit for the others.",
        )
    names = Counter(p.problem_id for p in into.problems)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise BadInput(
            field,
            f"the id {twice} is repeated",
            "Ids must be different, also between splits; name another column in columns.id, or leave it out.",
        )


def leave_out_overlap(into: Ingest, ngram: int, held_out: str) -> None:
    """Leave out training problems that share an n-gram with a held-out problem, and count both.

    Args:
        held_out: the split that judges models: ``test``, or ``validation`` in a search.

    Raises:
        BadInput: no training problem is left.
    """
    train = [p for p in into.problems if p.split == "train"]
    judged = [p.question for p in into.problems if p.split == held_out]
    hits, into.held_out_in_training = overlapping([p.question for p in train], judged, ngram)
    if train and len(hits) == len(train):
        raise BadInput(
            "spec.problems.train",
            f"all {len(train)} problems share {ngram} words in a row with a {held_out} problem, such as "
            f"{excerpt(train[hits[0]].question)}",
            "If questions begin or end with the same instructions, remove these with columns.questionAfter and "
            "columns.questionBefore; or raise spec.problems.overlapNgram.",
        )
    dropped = {train[i].problem_id for i in hits}
    into.left_out_of_training = len(dropped)
    into.problems = [p for p in into.problems if p.problem_id not in dropped or p.split != "train"]


def hold_out(into: Ingest, count: int, fix: str = "Hold out fewer, or give a validation source.") -> None:
    """Hold out training problems for validation, chosen by a hash of their id: with more data most of them stay, and
    with a higher count all of them.

    Raises:
        BadInput: there are not more training problems than ``count``.
    """
    train = [p for p in into.problems if p.split == "train"]
    if count and len(train) <= count:
        why = dropped_words(into.counts.get("train", Counts()), into.left_out_of_training)
        raise BadInput(
            "spec.problems.holdOut",
            f"{count} of {len(train)} training problems{why}",
            fix,
        )
    order = sorted(train, key=lambda p: hashlib.sha256(f"validation {p.problem_id}".encode()).digest())
    chosen = {p.problem_id for p in order[:count]}
    into.problems = [
        replace(p, split="validation") if p.split == "train" and p.problem_id in chosen else p for p in into.problems
    ]


def examples(into: Ingest, most: int = 20) -> list[str]:
    """Return examples of rows without a final answer, some for every split and reason."""
    found = [
        f"{split}, {said} ({WORDS[reason]})"
        for split, counts in into.counts.items()
        for reason, said in counts.examples
    ]
    return found[:most]
