"""Read finished stages for a page: rows are streamed, and only those of wanted problems are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from misstep.plan.frozen import FrozenStage, stage_key

if TYPE_CHECKING:
    from misstep.artifacts.reader import Reader

Row = dict[str, Any]
Report = Callable[[str, int, int], None]
"""Is told what is being read, how many rows were read, and how many there are."""


class Tables:
    """The tables of finished stages.

    Args:
        reader: reads them, and checks their bytes.
        report: is told how far reading is.
    """

    def __init__(self, reader: Reader, report: Report) -> None:
        self._reader, self._report = reader, report

    def has(self, key: str, table: str) -> bool:
        """Return whether a stage has written rows of a table."""
        return self._reader.rows(key, table) > 0

    def summary(self, key: str) -> Mapping[str, Any]:
        """Return what a stage has counted."""
        return self._reader.manifest(key).summary

    def columns(self, key: str, table: str, names: list[str], what: str) -> Iterator[Iterator[tuple[Any, ...]]]:
        """Stream some columns of a table: for each batch its rows, as tuples."""
        done, total = 0, self._reader.rows(key, table)
        for batch in self._reader.batches(key, table, names):
            yield zip(*(column.to_pylist() for column in batch.columns), strict=True)
            done += batch.num_rows
            self._report(what, done, total)

    def rows(self, key: str, table: str, names: list[str], problems: Collection[str], what: str) -> Iterator[Row]:
        """Stream the rows of some problems. ``names`` holds ``problem_id``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(sorted(problems), pa.string())
        done, total = 0, self._reader.rows(key, table)
        for batch in self._reader.batches(key, table, names):
            yield from batch.filter(pc.is_in(batch.column("problem_id"), wanted)).to_pylist()
            done += batch.num_rows
            self._report(what, done, total)

    def by_problem(
        self, key: str, table: str, names: list[str], problems: Collection[str], what: str
    ) -> dict[str, list[Row]]:
        """Return the rows of some problems, in the table's order; a problem without rows has an empty list."""
        found: dict[str, list[Row]] = {problem: [] for problem in problems}
        for row in self.rows(key, table, names, problems, what):
            found[row["problem_id"]].append(row)
        return found

    def questions(self, stage: FrozenStage, problems: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return question and gold answer of some problems of a stage."""
        names = ["problem_id", "question", "gold"]
        found = self.rows(stage.inputs["problems"], "problems", names, problems, "problems")
        return {row["problem_id"]: (row["question"], row["gold"]) for row in found}


def of_this_version(stage: FrozenStage) -> bool:
    """Return whether this version of Misstep would give a stage this key, so that its tables have today's columns."""
    return stage.key == stage_key(stage.kind, stage.params, stage.inputs, stage.externals)
