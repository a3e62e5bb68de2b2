"""Read a file's responses, each with its problem. Every row that gives none is counted with the reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from misstep.datafiles.cells import CellError, cell, find
from misstep.datafiles.files import rows
from misstep.errors import BadInput
from misstep.standalone.columns import Columns, choose_columns
from misstep.verification.gold import gold_answer

NO_QUESTION, NO_GOLD, NO_RESPONSE = "no-question", "no-gold", "no-response"


@dataclass(frozen=True, slots=True)
class Given:
    """One response of the file."""

    where: str
    """``line 3``; for the second response of a list ``line 3, response 2``."""
    sample: int
    """Its number among the problem's responses, from 0."""
    text: str
    step_ends: tuple[int, ...] | None = None
    """Where its steps end, in characters, if they are given."""
    label: int | None = None
    """The first wrong step, from 0; -1 for none; None without ``--labels``."""


@dataclass(slots=True)
class GivenProblem:
    """A problem with its responses, in the order of the file."""

    problem_id: str
    question: str
    gold: str
    responses: list[Given] = field(default_factory=list)


@dataclass(slots=True)
class GivenFile:
    """All that was read from a file."""

    columns: Columns
    problems: dict[str, GivenProblem] = field(default_factory=dict)
    rows: int = 0
    empty: Counter[str] = field(default_factory=Counter)
    """Rows, or responses in a list, that hold nothing to credit, by reason."""

    @property
    def responses(self) -> int:
        return sum(len(problem.responses) for problem in self.problems.values())


def read_file(path: Path, asked: Columns, join: str) -> GivenFile:
    """Read a JSONL or Parquet file, or a folder of them.

    Rows are of one problem if they have the same id; without a column of ids, the same question and gold answer.

    Args:
        path: the file.
        asked: the columns that options name; the others have their usual names.
        join: the text between two given steps.

    Raises:
        BadInput: the file cannot be read, is empty, lacks a column, holds something else than text in one, or has one
            id for two problems.
    """
    if not path.exists():
        raise BadInput("FILE", str(path), "There is no such file; check the path.")
    found = rows(path)
    first = next(found, None)
    if first is None:
        raise BadInput("FILE", str(path), "It has no rows.")
    read = GivenFile(choose_columns(asked, first[1], first[0]))
    for where, row in chain([first], found):
        read.rows += 1
        _take(read, where, row, join)
    return read


def _take(read: GivenFile, where: str, row: Mapping[str, Any], join: str) -> None:
    columns = read.columns
    assert columns.question is not None
    assert columns.gold is not None
    question = _text("--question", columns.question, "question", row, where)
    gold = _text("--gold", columns.gold, "answer", row, where)
    if not question or not gold:
        read.empty[NO_QUESTION if not question else NO_GOLD] += 1
        return
    problem = _problem_of(read, question, gold, row, where)
    for number, (text, ends) in enumerate(_responses(columns, row, where, join), 1):
        if not text.strip():
            read.empty[NO_RESPONSE] += 1
            continue
        place = where if number == 1 else f"{where}, response {number}"
        label = _label(columns, row, where, ends)
        problem.responses.append(Given(place, len(problem.responses), text, ends, label))


def _problem_of(read: GivenFile, question: str, gold: str, row: Mapping[str, Any], where: str) -> GivenProblem:
    column = read.columns.problem_id
    name = _text("--id", column, "id", row, where) if column else problem_id(question, gold)
    if not name:
        raise BadInput("--id", f"{column} is empty in {where}", "Give every row its problem's id, or leave out --id.")
    problem = read.problems.setdefault(name, GivenProblem(name, question, gold))
    if problem.question != question or gold_answer(problem.gold) != gold_answer(gold):
        what = "question" if problem.question != question else "gold answer"
        raise BadInput(
            "--id",
            f"{name!r} has another {what} in {where} than in an earlier row",
            "Rows with one id are responses to one problem: correct the ids, or leave out --id.",
        )
    return problem


def problem_id(question: str, gold: str) -> str:
    """Return an id made from a problem's question and final answer."""
    return hashlib.blake2b(f"{question}\x1f{gold_answer(gold)}".encode(), digest_size=8).hexdigest()


def _text(option: str, column: str, role: Any, row: Mapping[str, Any], where: str) -> str:
    try:
        return cell(find(row, column), column, role).text
    except CellError as error:
        raise BadInput(option, f"{column} holds {error.seen} in {where}", error.fix) from error


def _responses(
    columns: Columns, row: Mapping[str, Any], where: str, join: str
) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """Yield the texts of a row's responses, each with the ends of its steps where these are given."""
    if columns.steps is not None:
        steps = find(row, columns.steps)
        if steps is None:
            yield "", None
            return
        if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
            raise BadInput(
                "--steps",
                f"{columns.steps} holds {steps!r:.60} in {where}",
                "Name a column with a list of texts, one for each step; a response in one text goes to --response.",
            )
        parts = [*(f"{step}{join}" for step in steps[:-1]), *steps[-1:]]
        yield "".join(parts), tuple(accumulate(map(len, parts)))
        return
    assert columns.response is not None
    value = find(row, columns.response)
    several = isinstance(value, list) and all(item is None or isinstance(item, str) for item in value)
    for item in (value or [None]) if several and isinstance(value, list) else [value]:
        # The text itself, with the white space at its ends: it belongs to what the model wrote.
        found = _text("--response", columns.response, "solution", {columns.response: item}, where)
        yield item if isinstance(item, str) and item.strip() == found else found, None


def _label(columns: Columns, row: Mapping[str, Any], where: str, ends: tuple[int, ...] | None) -> int | None:
    if columns.labels is None or ends is None:
        return None
    value = find(row, columns.labels)
    steps = len(ends)
    if isinstance(value, int) and not isinstance(value, bool) and -1 <= value < steps:
        return value
    raise BadInput(
        "--labels",
        f"{columns.labels} holds {value!r:.60} in {where}",
        f"Write the index of the first wrong step, from 0 to {steps - 1} for its {steps} steps, or -1 for none.",
    )
