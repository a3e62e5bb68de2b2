"""Readers of each source format: rows to problems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from misstep.errors import BadInput
from misstep.plan.params import SourceParams
from misstep.problems.files import Row, rows, text_column
from misstep.problems.raw import RawProblem
from misstep.verification.gold import gold_answer

ReadSplit = Literal["train", "validation", "test"]
_CALCULATOR = re.compile(r"<<[^<>]*>>")


def read_source(
    params: SourceParams, path: Path | None, split: ReadSplit, fetched: Iterable[Row] | None = None
) -> Iterator[RawProblem]:
    """Read one source.

    Args:
        path: the file or folder, for sources that are files.
        fetched: rows that were fetched from the Hub, in place of `path`.

    Raises:
        BadInput: a missing column or an unreadable row.
    """
    if params.format == "strides":
        return _strides(params, split)
    assert path is not None
    found = rows(path) if fetched is None else fetched
    match params.format:
        case "gsm8k":
            return (_gsm8k(row, path) for row in found)
        case "math":
            return (_math(row, path) for row in found)
        case _:
            return (_table(row, path, params.columns) for row in found)


def _gsm8k(row: Row, path: Path) -> RawProblem:
    """OpenAI's format: ``question``, and ``answer`` = the solution with calculator marks, then ``#### N``."""
    answer = text_column(row, "answer", path)
    return RawProblem(
        question=text_column(row, "question", path),
        gold=gold_answer(answer) if "####" in answer else "",
        solution=_CALCULATOR.sub("", answer),
        where=row[0],
    )


def _math(row: Row, path: Path) -> RawProblem:
    """Hendrycks' format: ``problem``, and ``solution`` whose last ``\\boxed{..}`` is the answer."""
    solution = text_column(row, "solution", path)
    return RawProblem(
        question=text_column(row, "problem", path),
        gold=gold_answer(solution) if "boxed" in solution else "",
        solution=solution,
        where=row[0],
    )


def _table(row: Row, path: Path, columns: dict[str, str]) -> RawProblem:
    solution, own_id = columns.get("solution"), columns.get("id")
    return RawProblem(
        question=text_column(row, columns["question"], path),
        gold=text_column(row, columns["answer"], path),
        solution=text_column(row, solution, path) if solution else None,
        where=row[0],
        source_id=text_column(row, own_id, path) if own_id else None,
    )


def _strides(params: SourceParams, split: ReadSplit) -> Iterator[RawProblem]:
    from misstep.problems.strides import generate

    if params.limit is None:
        raise BadInput(f"spec.problems.{split}.limit", "not given", "Say how many problems to generate.")
    made = generate(split, params.limit, params.generator_seed or 0)
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
            "Where the Hub cannot be reached, download it elsewhere and run with --data NAME=FOLDER, "
            "or set path in the source.",
        ) from error
    return ((f"row {number}", row) for number, row in enumerate(found, 1))
