"""The output folder: what was asked, the verdicts, one folder for each finished block, and the results.

A block's folder appears under its name only once it is complete, by one rename. So a run that is killed loses the block
that it was in, and any run goes on where others stopped. Runs may share the folder at the same time (`--shard`).
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput, MisstepError
from misstep.standalone.settings import difference
from misstep.store.disk import disk_errors
from misstep.terms.verdict import Judgement, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

SETTINGS, VERDICTS, BLOCKS, SUMMARY = "settings.json", "verdicts.parquet", "blocks", "summary.json"

_OLD_SECONDS = 3600


class CreditFolder:
    """The folder that ``--out`` names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, description: Mapping[str, Any]) -> None:
        """Create the folder, or check that it is one of the same input and settings.

        Raises:
            BadInput: it holds something else, or was made with another input or other settings.
        """
        note = self.path / SETTINGS
        with disk_errors("--out", str(self.path)):
            if not note.exists():
                if self.path.exists() and (not self.path.is_dir() or any(self._foreign())):
                    fix = "It is no folder of misstep credit: name a new folder, or one of an earlier run."
                    raise BadInput("--out", str(self.path), fix)
                self.path.mkdir(parents=True, exist_ok=True)
                self._create(note, _json(dict(description)))
        before = self._read_json(note)
        found = difference(before, json.loads(_json(dict(description))))
        if found:
            raise BadInput(
                "--out",
                str(self.path),
                f"It was made with another input or other settings: {found}. Give the same ones, or name another "
                "folder.",
            )

    def _foreign(self) -> Iterator[Path]:
        """Yield what a run of this command that has just begun would not have written."""
        return (found for found in self.path.iterdir() if not found.name.startswith(".") and found.name != SETTINGS)

    def verdicts(self) -> list[Judgement] | None:
        """Return the verdicts of an earlier run."""
        file = self.path / VERDICTS
        if not file.exists():
            return None
        rows = self._read(file).to_pylist()
        return [Judgement(Verdict(row["verdict"]), row["extracted"], row["rule"]) for row in rows]

    def keep_verdicts(self, judgements: list[Judgement]) -> list[Judgement]:
        """Keep verdicts; of two runs at once the first one's hold. Return those that hold."""
        import pyarrow as pa

        rows = [{"verdict": j.verdict.value, "extracted": j.extracted, "rule": j.rule} for j in judgements]
        schema = pa.schema([(name, pa.string()) for name in ("verdict", "extracted", "rule")])
        unfinished = self._unfinished()
        with disk_errors("--out", str(self.path)):
            _write_table(pa.Table.from_pylist(rows, schema=schema), unfinished)
            self._first(unfinished, self.path / VERDICTS)
        return self.verdicts() or []

    def done(self, blocks: int) -> set[int]:
        """Return the blocks that are finished."""
        return {number for number in range(blocks) if self._block(number).is_dir()}

    def keep_block(self, number: int, tables: Mapping[str, pa.Table], summary: Mapping[str, Any]) -> None:
        """Keep a finished block; one that another run has finished stays."""
        unfinished = self._unfinished()
        with disk_errors("--out", str(self.path)):
            unfinished.mkdir(parents=True)
            for name, table in tables.items():
                _write_table(table, unfinished / f"{name}.parquet")
            (unfinished / SUMMARY).write_text(_json(summary), encoding="utf-8")
            self._block(number).parent.mkdir(exist_ok=True)
            try:
                unfinished.rename(self._block(number))
            except OSError:
                if not self._block(number).is_dir():
                    raise
                shutil.rmtree(unfinished)

    def table(self, name: str, blocks: int) -> pa.Table | None:
        """Return a table of all blocks together, in their order; None if no block has it."""
        import pyarrow as pa

        files = [self._block(number) / f"{name}.parquet" for number in range(blocks)]
        found = [self._read(file) for file in files if file.exists()]
        return pa.concat_tables(found) if found else None

    def summaries(self, blocks: int) -> list[dict[str, Any]]:
        """Return the counts of all blocks."""
        return [self._read_json(self._block(number) / SUMMARY) for number in range(blocks)]

    def write(self, name: str, table: pa.Table) -> None:
        """Write a table of results as ``NAME.parquet``."""
        self._replace(self.path / f"{name}.parquet", lambda file: _write_table(table, file))

    def write_jsonl(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows as ``NAME.jsonl``."""

        def fill(file: Path) -> None:
            with file.open("w", encoding="utf-8") as out:
                out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

        self._replace(self.path / f"{name}.jsonl", fill)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``, last of all."""
        self._replace(self.path / SUMMARY, lambda file: file.write_text(_json(summary), encoding="utf-8"))

    def clean(self) -> None:
        """Remove what killed runs left behind. Newer files may be those of a run that is still writing."""
        for left in self.path.glob(".unfinished-*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _OLD_SECONDS:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    def _block(self, number: int) -> Path:
        return self.path / BLOCKS / f"{number:05d}"

    def _unfinished(self) -> Path:
        return self.path / f".unfinished-{uuid.uuid4().hex}"

    def _create(self, target: Path, text: str) -> None:
        unfinished = self._unfinished()
        unfinished.write_text(text, encoding="utf-8")
        self._first(unfinished, target)

    def _first(self, unfinished: Path, target: Path) -> None:
        """Give a file its name if nothing has it yet."""
        try:
            os.link(unfinished, target)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not target.exists():
                unfinished.replace(target)
        unfinished.unlink(missing_ok=True)

    def _replace(self, target: Path, fill: Any) -> None:
        unfinished = self._unfinished()
        with disk_errors("--out", str(self.path)):
            fill(unfinished)
            unfinished.replace(target)

    def _read(self, file: Path) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_table(file)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file) from error

    def _read_json(self, file: Path) -> dict[str, Any]:
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(file) from error
        return dict(held)


def _damaged(file: Path) -> MisstepError:
    what = file.parent if file.parent.parent.name == BLOCKS else file
    return BadInput("--out", str(file), f"It cannot be read. Remove {what}, and run again: only this is done again.")


def _write_table(table: pa.Table, file: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, file, compression="zstd")


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False) + "\n"
