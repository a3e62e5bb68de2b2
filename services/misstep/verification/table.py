"""Judge the rows of a JSONL or Parquet file: the implementation of ``misstep verify``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.datafiles.cells import ABSENT, CellError, cell, find, paths
from misstep.datafiles.filekinds import refuse_other_kind
from misstep.errors import BadInput
from misstep.terms.verdict import VERIFIER_VERSION, Judgement, Verdict
from misstep.verification.extract import AnswerFormat
from misstep.verification.verifier import Verifier

if TYPE_CHECKING:
    import pyarrow as pa

ADDED = ("verdict", "extracted", "verifier")
_BATCH_ROWS = 2000
_JSONL = (".jsonl", ".ndjson")
_PARQUET = (".parquet",)


def verify_file(
    path: Path,
    response: str,
    gold: str,
    out: Path,
    answer_format: AnswerFormat = AnswerFormat.AUTO,
    workers: int = 1,
) -> Counter[Verdict]:
    """Judge each row of a file and write it with the columns ``verdict``, ``extracted`` and ``verifier``.

    Rows are streamed, so the file may be larger than memory; all other columns stay unchanged. The output appears under
    its name only once it is complete.

    Args:
        path: JSONL or Parquet, by the suffix.
        response: name of the column with the responses, or a dotted path to one (``output.text``); of chat messages the
            assistant turn is judged; a null is ``unparsable``.
        gold: name of the column with the gold answers, or a dotted path to one (``reward_model.ground_truth``): bare
            answers, numbers, lists of one, or whole GSM8K or MATH solutions.
        out: the output file, of the same kind; it must not exist yet.
        answer_format: how the responses state their answer.
        workers: number of concurrent symbolic comparisons.

    Returns:
        The number of rows of each verdict.

    Raises:
        BadInput: the file is missing, malformed or of another kind; a column is missing, exists already or is not text;
            or the output exists or cannot be written.
    """
    path, out = Path(path), Path(out)
    _check_paths(path, out)
    with Verifier(answer_format, workers) as verifier:
        job = _Job(path, response, gold, verifier, partial(_writing, out), Counter())
        scan = _scan_jsonl if path.suffix in _JSONL else _scan_parquet
        unfinished = out.with_name(f".{out.name}.{os.getpid()}.partial")
        try:
            scan(job, unfinished)
            _check_absent(out)
            with job.writing():
                unfinished.replace(out)
        finally:
            with suppress(OSError):  # it must not hide the original error
                unfinished.unlink(missing_ok=True)
    return job.counts


@dataclass(frozen=True)
class _Job:
    path: Path
    response: str
    gold: str
    verifier: Verifier
    writing: Callable[[], AbstractContextManager[None]]
    counts: Counter[Verdict]

    def check_columns(self, row: Mapping[str, Any], where: str) -> None:
        """Refuse a row that lacks a column, or already has a column with an added name."""
        for option, name in (("--response", self.response), ("--gold", self.gold)):
            if name not in row and find(row, name) is ABSENT:
                there = ", ".join(paths(row))
                raise BadInput(option, name, f"{where} has no such column; its columns are: {there}.")
        for name in ADDED:
            if name in row:
                raise BadInput("FILE", name, f"{where} already has a column with an added name; rename it.")

    def score_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str | None]]:
        """The added columns of each row of a batch."""
        return self.score([find(row, self.response) for row in rows], [find(row, self.gold) for row in rows])

    def score(self, responses: Sequence[object], golds: Sequence[object]) -> list[dict[str, str | None]]:
        """The added columns of each row of a batch."""
        texts = (
            (_as_text("--response", self.response, r), _as_text("--gold", self.gold, g))
            for r, g in zip(responses, golds, strict=True)
        )
        judgements = list(self.verifier.judge(texts))
        self.counts.update(judgement.verdict for judgement in judgements)
        return [_added(judgement) for judgement in judgements]


def _added(judgement: Judgement) -> dict[str, str | None]:
    return {"verdict": judgement.verdict.value, "extracted": judgement.extracted, "verifier": VERIFIER_VERSION}


def _as_text(option: str, column: str, value: object) -> str:
    """A cell as text: golds may be numbers; null is an empty text, which has no answer."""
    if value is ABSENT:
        raise BadInput(option, column, "It is empty in a row; name a column that every row has.")
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        try:
            return cell(value, column, "answer").text
        except CellError as error:
            raise BadInput(option, column, f"It holds {error.seen}, which is not text. {error.fix}") from error
    if option == "--response" or isinstance(value, bytes):
        raise BadInput(option, column, f"It holds {value!r:.60}, which is not text; name a column of single texts.")
    return str(value)


def _check_paths(path: Path, out: Path) -> None:
    if path.is_file():
        refuse_other_kind(path)
    for name, file in (("FILE", path), ("--out", out)):
        if file.suffix not in _JSONL + _PARQUET:
            raise BadInput(name, str(file), "Name a file that ends in .jsonl or .parquet.")
    if not path.is_file():
        raise BadInput("FILE", str(path), "There is no such file; check the path.")
    if (path.suffix in _JSONL) != (out.suffix in _JSONL):
        raise BadInput("--out", str(out), f"Give it the suffix of the input, {path.suffix}: rows keep their format.")
    _check_absent(out)


def _check_absent(out: Path) -> None:
    if out.exists():
        raise BadInput("--out", str(out), "It already exists; name another file or remove this one.")


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput("--out", str(out), f"Cannot write there: {reason}. Name a place with enough space.") from error


@contextmanager
def _sink(job: _Job, create: Callable[[], Any]) -> Iterator[Any]:
    """Open and close the output; the final write on closing may fail like any write."""
    with job.writing():
        sink = create()
    try:
        yield sink
    finally:
        with job.writing():
            sink.close()


def _scan_jsonl(job: _Job, unfinished: Path) -> None:
    with job.path.open("rb") as source, _sink(job, lambda: unfinished.open("xb")) as sink:
        rows = _rows(job, source)
        while batch := list(islice(rows, _BATCH_ROWS)):
            added = job.score_rows([row for _, row in batch])
            with job.writing():
                sink.writelines(_extended(line, more) for (line, _), more in zip(batch, added, strict=True))
        with job.writing():
            sink.flush()
            os.fsync(sink.fileno())


def _rows(job: _Job, source: Iterable[bytes]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for number, line in enumerate(source, 1):
        text = line.removeprefix(b"\xef\xbb\xbf").strip()
        if not text:
            continue
        where = f"{job.path}, line {number}"
        start = text[:80].decode(errors="replace")
        try:
            row = json.loads(text, parse_float=str)  # a gold of 0.10 keeps its digits
        except (ValueError, RecursionError) as error:
            raise BadInput(where, start, f"This is not JSON ({error}); fix or remove the line.") from error
        if not isinstance(row, dict):
            raise BadInput(where, start, "Each line must be a JSON object.")
        job.check_columns(row, where)
        yield text, row


def _extended(line: bytes, added: dict[str, str | None]) -> bytes:
    """The row's own text with more fields before its closing brace, so that its contents stay unchanged."""
    more = json.dumps(added, ensure_ascii=False)
    try:
        data = more.encode()
    except UnicodeEncodeError:
        data = json.dumps(added).encode()  # half a surrogate pair cannot be UTF-8, only an escape
    return line[:-1].rstrip() + b", " + data[1:] + b"\n"


def _scan_parquet(job: _Job, unfinished: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = pq.ParquetFile(job.path, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise BadInput("FILE", str(job.path), f"It cannot be read as Parquet ({error}); check the file.") from error
    with source:
        schema = source.schema_arrow
        empty = {field.name: _empty(field.type) for field in schema}
        job.check_columns(empty, str(job.path))
        asked = (f"{job.response}.", f"{job.gold}.")
        wanted = [name for name in schema.names if any(path.startswith(f"{name}.") for path in asked)]
        for name in ADDED:
            schema = schema.append(pa.field(name, pa.string()))
        with _sink(job, lambda: pq.ParquetWriter(unfinished, schema, compression="zstd")) as sink:
            for batch in _batches(job, source):
                added = job.score_rows(batch.select(wanted).to_pylist(maps_as_pydicts="lossy"))
                columns = [pa.array([row[name] for row in added], pa.string()) for name in ADDED]
                with job.writing():
                    sink.write_batch(pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema))


def _batches(job: _Job, source: Any) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    try:
        yield from source.iter_batches(batch_size=_BATCH_ROWS)
    except (pa.ArrowException, OSError) as error:
        raise BadInput("FILE", str(job.path), f"Its data cannot be read ({error}); write the file again.") from error


def _empty(kind: pa.DataType) -> Any:
    """The fields of a struct without values; None for a column of another type."""
    import pyarrow as pa

    return {field.name: _empty(field.type) for field in kind} if pa.types.is_struct(kind) else None
