"""The readers of each source format, which convert rows to problems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from misstep.datafiles.cells import ABSENT, Cell, CellError, Role, cell, find
from misstep.datafiles.files import Row, rows
from misstep.errors import BadInput
from misstep.plan.params import SourceParams
from misstep.problems.generated import GENERATORS, ReadSplit
from misstep.problems.golds import Gold, between, gold_in
from misstep.problems.raw import RawProblem
from misstep.problems.suggest import DEFAULT_COLUMNS, columns_in, snippet, suggest

_CALCULATOR = re.compile(r"<<[^<>]*>>")
MARKS_STAY = "calculator marks <<..>> stay in the solution (format gsm8k takes them out)"
_LOOKED_AT = 200
"""The number of rows that show which columns exist: a column in none of them is missing."""


@dataclass
class Reading:
    """The problems of one source, and its first rows, for advice."""

    problems: Iterator[RawProblem]
    format: str
    split: ReadSplit
    place: str
    """The field of the spec that describes this source: ``spec.problems.train`` for a test split that is not given
    separately."""
    sample: list[Mapping[str, Any]] = field(default_factory=list)
    columns_read: Mapping[str, str] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[RawProblem]:
        return self.problems

    @property
    def field(self) -> str:
        """The field that errors name."""
        return self.place if self.place.endswith(f".{self.split}") else f"{self.place} (its split {self.split})"

    def advice(self) -> str | None:
        """Fields of a source that would read these rows better, as YAML to paste; None if none are known."""
        advice = suggest(self.sample)
        return None if advice == snippet(self.format, self.columns_read, self.marks) else advice

    def columns(self) -> str:
        """The columns of the source, for messages."""
        return ", ".join(columns_in(self.sample)) or "none"


def read_source(
    params: SourceParams,
    path: Path | None,
    split: ReadSplit,
    fetched: Iterable[Row] | None = None,
    given: ReadSplit | None = None,
) -> Reading:
    """Read one source.

    Args:
        path: the file or folder, for sources that are files.
        fetched: rows that were fetched from the Hub, instead of `path`.
        given: the split whose fields describe this one; by default itself.

    Raises:
        BadInput: a missing column or an unreadable row.
    """
    place = f"spec.problems.{given or split}"
    if params.format in GENERATORS:
        return Reading(_generated(params, split), params.format, split, place)
    assert path is not None
    found = iter(rows(path) if fetched is None else fetched)
    first = list(islice(found, _LOOKED_AT))
    sample = [values for _, values in first]
    columns = DEFAULT_COLUMNS[params.format] | params.columns
    reader = _Reader(params.format, columns, params.marks, f"{place}.columns", path)
    problems = map(reader.problem, islice(chain(first, found), params.skip, None))
    reading = Reading(problems, params.format, split, place, sample, columns, params.marks)
    if sample:
        _check_columns(reading, path)
    return reading


def _check_columns(reading: Reading, path: Path) -> None:
    """Refuse columns that no row has; the error lists the existing ones and suggests fields."""
    missing = [
        name for name in reading.columns_read.values() if all(find(row, name) is ABSENT for row in reading.sample)
    ]
    if not missing:
        return
    advice = reading.advice()
    fix = f" Write in {reading.place}: {advice}" if advice else f" Name them in {reading.place}.columns."
    raise BadInput(
        reading.field,
        f"format {reading.format} reads the column{'s' if len(missing) > 1 else ''} {' and '.join(missing)}, which "
        f"{path.name} does not have",
        f"The columns are: {reading.columns()}.{fix}",
    )


@dataclass(frozen=True)
class _Reader:
    """Converts a row to a problem.

    ``gsm8k``: ``question``, and ``answer`` = the solution with calculator marks, then ``#### N``. ``math``:
    ``problem``, and ``solution`` whose last ``\\boxed{..}`` is the answer. ``table``: described by ``columns``.
    """

    format: str
    columns: Mapping[str, str]
    marks: Mapping[str, str]
    field: str
    path: Path

    def problem(self, row: Row) -> RawProblem:
        asked = self._cell(row, "question")
        question = between(asked.text, self.marks.get("question_after"), self.marks.get("question_before")) or ""
        remarks: tuple[str, ...] = ()
        if self.format == "table":
            said = self._cell(row, "answer").text
            solution = self._cell(row, "solution").text
            if _CALCULATOR.search(solution):
                remarks = (MARKS_STAY,)
            gold = gold_in(said, self.marks.get("answer_after"), self.marks.get("answer_before"))
        elif self.format == "gsm8k":
            said = self._cell(row, "answer").text
            solution = _CALCULATOR.sub("", said)
            gold = gold_in(said) if "####" in said or not said else Gold("", "hash")
        else:
            said = solution = self._cell(row, "solution").text
            gold = gold_in(said) if "boxed" in said or not said else Gold("", "box")
        return RawProblem(
            question=question,
            gold=gold.text,
            solution=solution or None,
            where=row[0],
            source_id=self._cell(row, "id").text or None,
            reason=gold.reason,
            said=said,
            remarks=(*asked.remarks, *remarks),
        )

    def _cell(self, row: Row, role: Role) -> Cell:
        where, values = row
        name = self.columns.get(role)
        if name is None:
            return Cell("")
        try:
            found = cell(find(values, name), name, role)
        except CellError as error:
            raise BadInput(
                f"{self.field}.{role}", f"column {name} of {self.path.name} holds {error.seen} at {where}", error.fix
            ) from error
        try:
            found.text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise BadInput(
                f"{self.field}.{role}",
                f"column {name} of {self.path.name} has half a character ({half}) at {where}",
                "Text was cut in the middle of a character there. Remove it, or the row.",
            ) from error
        return found


def _generated(params: SourceParams, split: ReadSplit) -> Iterator[RawProblem]:
    if params.limit is None:
        raise BadInput(f"spec.problems.{split}.limit", "not given", "Say how many problems to generate.")
    made = GENERATORS[params.format](split, params.limit, params.generator_seed or 0)
    return (RawProblem(m.question, m.gold, m.solution, f"problem {i}") for i, m in enumerate(made))


def hub_rows(uri: str) -> Iterator[Row]:
    """Fetch a data set of the Hugging Face Hub: ``hf://datasets/org/name@revision#config/split``.

    Raises:
        BadInput: it cannot be fetched; the fix says how to use a local folder instead.
    """
    import datasets
    import huggingface_hub.errors

    place, _, part = uri.removeprefix("hf://datasets/").partition("#")
    name, _, revision = place.partition("@")
    config, _, split = part.partition("/")
    try:
        found = datasets.load_dataset(name, config or None, split=split, revision=revision)
    except (
        OSError,
        ValueError,
        huggingface_hub.errors.HfHubHTTPError,
        datasets.exceptions.DatasetsError,
    ) as error:
        raise BadInput(
            f"data set {name} on the Hugging Face Hub",
            f"cannot be fetched ({str(error).splitlines()[0][:200]})",
            "If the Hub cannot be reached, download it elsewhere and run with --data NAME=FOLDER, "
            "or set path in the source.",
        ) from error
    return ((f"row {number}", row) for number, row in enumerate(found, 1))
