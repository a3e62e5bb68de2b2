"""What a tracker shows: runs with parameters, rows of metrics, figures and files; and what of it is new. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

Param = str | int | float | bool


class Row(NamedTuple):
    """The values of one training step, from 1. A run has one row for a step, in rising order."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """A table of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_markdown(self) -> str:
        """Return it as a table in Markdown."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


@dataclass(frozen=True)
class Run:
    """A run of a tracker: the experiment's own, or that of one training. Names have letters, digits and ``-_./``."""

    id: str
    """The same each time that the same stages are logged, and of no other run."""
    name: str
    group: str
    """The id of the experiment's run; its own id where it is that run."""
    job: str
    """``experiment``, or the kind of stage that trains."""
    params: Mapping[str, Param] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
    """Figures that have no step, by name. Once known they do not change."""
    table: Table | None = None
    """The final table, of the experiment's run."""
    files: Mapping[str, Path] = field(default_factory=dict)
    finished: bool = False
    """Whether nothing more will come."""

    @property
    def is_parent(self) -> bool:
        return self.id == self.group


@dataclass(frozen=True)
class News:
    """What of a run a tracker does not have yet."""

    rows: tuple[Row, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    finished: bool = False

    def __bool__(self) -> bool:
        return bool(self.rows or self.facts or self.files or self.finished)


@dataclass(frozen=True)
class Logged:
    """What a tracker has of a run."""

    steps: Mapping[str, int] = field(default_factory=dict)
    """Name of a metric -> the last step that has it."""
    floor: int = 0
    """No row up to this step is missing, whatever its metrics."""
    facts: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    finished: bool = False

    def missing_of(self, run: Run) -> News:
        """Return what the tracker lacks. A step that it has, it never gets again, whoever computed it."""
        return News(
            rows=tuple(self._missing_rows(run.rows)),
            facts={name: value for name, value in run.facts.items() if name not in self.facts},
            files={name: path for name, path in run.files.items() if name not in self.files},
            finished=run.finished and not self.finished,
        )

    def _missing_rows(self, rows: Sequence[Row]) -> Iterable[Row]:
        for row in rows:
            if row.step > self.floor:
                values = {name: value for name, value in row.values.items() if row.step > self.steps.get(name, 0)}
                if values:
                    yield Row(row.step, values)

    def plus(self, news: News) -> Logged:
        """Return what the tracker has after it took the news."""
        steps = dict(self.steps)
        for row in news.rows:
            steps |= dict.fromkeys(row.values, row.step)
        return replace(
            self,
            steps=steps,
            facts=self.facts | news.facts.keys(),
            files=self.files | news.files.keys(),
            finished=self.finished or news.finished,
        )
