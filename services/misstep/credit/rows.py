"""Read the rows of some problems from large tables, part by part, without loading whole tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from misstep.errors import MisstepError
from misstep.stages.context import StageContext
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


class RowsByProblem:
    """A table with a ``problem_id`` column, indexed by the parts that hold a problem's rows.

    Args:
        ctx: the stage's context.
        role: which input.
        table: which of its tables.
        columns: what rows hold.
        only: the values of columns that a row must have.
    """

    def __init__(
        self,
        ctx: StageContext,
        role: str,
        table: str,
        columns: Collection[str],
        only: Mapping[str, str] | None = None,
    ) -> None:
        self._ctx = ctx
        self._role = role
        self._table = table
        self._columns = ["problem_id", *(column for column in columns if column != "problem_id")]
        self._only = dict(only or {})
        self._parts: dict[str, list[int]] = {}
        for part in range(ctx.parts_in(role, table)):
            held: dict[str, None] = {}
            for batch in ctx.batches(role, table, ["problem_id"], part=part):
                held.update(dict.fromkeys(batch.column("problem_id").unique().to_pylist()))
            for problem in held:
                self._parts.setdefault(problem, []).append(part)

    @property
    def problems(self) -> list[str]:
        """All problems that have rows, in the order of their first rows in the table."""
        return list(self._parts)

    def of(self, problems: Collection[str]) -> dict[str, list[Row]]:
        """Return the rows of some problems, in the table's order; a problem without rows has an empty
        list."""
        rows: dict[str, list[Row]] = {problem: [] for problem in problems}
        for batch in self._batches(problems):
            for row in batch.to_pylist():
                rows[row["problem_id"]].append(row)
        return rows

    def _batches(self, problems: Collection[str]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(list(problems), pa.string())
        for part in sorted({part for problem in problems for part in self._parts.get(problem, ())}):
            for batch in self._ctx.batches(self._role, self._table, [*self._columns, *self._only], part=part):
                keep = pc.is_in(batch.column("problem_id"), wanted)
                for column, value in self._only.items():
                    keep = pc.and_(keep, pc.equal(batch.column(column), value))
                yield batch.filter(keep).select(self._columns)


def gold_answers(ctx: StageContext) -> dict[str, str]:
    """Return the gold answer of every problem of the input ``problems``."""
    return _by_problem(ctx, "gold")


def questions(ctx: StageContext) -> dict[str, str]:
    """Return the question of every problem of the input ``problems``."""
    return _by_problem(ctx, "question")


def _by_problem(ctx: StageContext, column: str) -> dict[str, str]:
    table = ctx.read("problems", "problems", ["problem_id", column])
    return dict(zip(table["problem_id"].to_pylist(), table[column].to_pylist(), strict=True))


class Verdicts:
    """The verdicts of all samples, by problem and sample."""

    def __init__(self, ctx: StageContext) -> None:
        self._verdicts: dict[str, dict[int, Verdict]] = {}
        for batch in ctx.batches("verdicts", "verdicts", ["problem_id", "sample", "verdict"]):
            columns = (batch.column(name).to_pylist() for name in ("problem_id", "sample", "verdict"))
            for problem, sample, verdict in zip(*columns, strict=True):
                self._verdicts.setdefault(problem, {})[sample] = Verdict(verdict)

    def of(self, problem: str, sample: int) -> Verdict:
        """Return a sample's verdict. Raises MisstepError if there is none."""
        verdict = self._verdicts.get(problem, {}).get(sample)
        if verdict is None:
            raise MisstepError(
                f"sample {sample} of problem {problem!r} has no verdict: samples and verdicts do not match"
            )
        return verdict
