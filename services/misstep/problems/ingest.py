"""From raw problems to checked splits: duplicates, unreadable answers, overlap with the test set, validation."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from misstep.errors import BadInput
from misstep.problems.overlap import overlapping
from misstep.problems.raw import RawProblem, normalised, problem_id


@dataclass(frozen=True, slots=True)
class Problem:
    """A checked problem of one split."""

    problem_id: str
    split: str
    question: str
    gold: str
    solution: str | None


@dataclass
class Ingest:
    """Checked problems and what was left out, by split and reason."""

    problems: list[Problem] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    bad_gold: Counter[str] = field(default_factory=Counter)
    bad_gold_examples: list[str] = field(default_factory=list)
    held_out_in_training: int = 0
    """Test problems that share an n-gram with a training problem."""
    left_out_of_training: int = 0


def check_split(
    into: Ingest,
    split: str,
    raw: Iterable[RawProblem],
    readable: Callable[[str], bool],
    bad_gold_percent: int,
    limit: int | None,
    seen: set[str],
) -> None:
    """Check the problems of one split and add them.

    Args:
        readable: tells whether the verifier can read a gold answer.
        seen: normalised questions met so far, of splits that may not contain each other's problems; added to.

    Raises:
        BadInput: no problems at all, or too many whose gold answer cannot be read.
    """
    rows = 0
    for problem in raw:
        if limit is not None and rows >= limit:
            break
        rows += 1
        text = normalised(problem.question)
        if not text or text in seen:
            into.duplicates[split] += 1
            continue
        seen.add(text)
        if not problem.gold or not readable(problem.gold):
            into.bad_gold[split] += 1
            if len(into.bad_gold_examples) < 10:
                into.bad_gold_examples.append(f"{split}, {problem.where}: {problem.gold[:80]!r}")
            continue
        name = problem.source_id or problem_id(problem.question)
        into.problems.append(Problem(name, split, problem.question, problem.gold, problem.solution))
    if rows == 0:
        raise BadInput(f"spec.problems.{split}", "an empty data set", "Give a source that holds problems.")
    if into.bad_gold[split] * 100 > bad_gold_percent * rows:
        raise BadInput(
            f"spec.problems.{split}",
            f"{into.bad_gold[split]} of {rows} problems have a final answer that the verifier cannot read, "
            f"for example {'; '.join(into.bad_gold_examples[:3])}",
            "Mend the answers, set verification.answerFormat, or allow more with problems.badGoldPercent.",
        )
    names = Counter(p.problem_id for p in into.problems)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise BadInput(
            f"spec.problems.{split}",
            f"the id {twice} stands twice",
            "Ids must be different; mend columns.id.",
        )


def leave_out_overlap(into: Ingest, ngram: int) -> None:
    """Leave training problems out that share an n-gram with a test problem, and count both."""
    train = [p for p in into.problems if p.split == "train"]
    test = [p.question for p in into.problems if p.split == "test"]
    hits, into.held_out_in_training = overlapping([p.question for p in train], test, ngram)
    dropped = {train[i].problem_id for i in hits}
    into.left_out_of_training = len(dropped)
    into.problems = [p for p in into.problems if p.problem_id not in dropped or p.split != "train"]


def hold_out(into: Ingest, count: int) -> None:
    """Set training problems apart for validation, chosen by a hash of their id so that more data keeps most of them.

    Raises:
        BadInput: there are not more training problems than that.
    """
    train = [p for p in into.problems if p.split == "train"]
    if count and len(train) <= count:
        raise BadInput(
            "spec.problems.holdOut",
            f"{count} of {len(train)} training problems",
            "Hold out fewer, or give a validation source.",
        )
    order = sorted(train, key=lambda p: hashlib.sha256(f"validation {p.problem_id}".encode()).digest())
    chosen = {p.problem_id for p in order[:count]}
    into.problems = [
        Problem(p.problem_id, "validation", p.question, p.gold, p.solution)
        if p.split == "train" and p.problem_id in chosen
        else p
        for p in into.problems
    ]
