"""Runs as event files of TensorBoard, a folder for each: scalars by step, parameters and the final table as text."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.spec.tracking import TensorboardTracking
from misstep.tracking.runs import Logged, News, Run, Table

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

_EVENTS = "*tfevents*"
_FINISHED, _PARAMS, _TABLE = "misstep/finished", "misstep/parameters", "results/table"


class TensorboardTracker:
    """The files say what is there. One that a killed process has left with half a record at its end is read up to it,
    and a new process writes a file of its own. Figures without a step stand at step 0."""

    def __init__(self, settings: TensorboardTracking) -> None:
        self._folder = Path(settings.folder).expanduser()
        self._writers: dict[str, EventFileWriter] = {}

    @property
    def place(self) -> str:
        return str(self._folder.resolve())

    def open(self, run: Run) -> Logged:
        folder = self._folder_of(run)
        steps: dict[str, int] = {}
        for tag, step in _points(folder):
            steps[tag] = max(step, steps.get(tag, 0))
        self._close(run)
        if _PARAMS not in steps and run.params:
            params = tuple((name, str(value)) for name, value in run.params.items())
            self._write(run, [_text(_PARAMS, Table(("parameter", "value"), params).as_markdown())], 0)
        files = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return Logged(
            steps={tag: step for tag, step in steps.items() if step},
            facts=frozenset(tag for tag, step in steps.items() if not step),
            files=frozenset(files),
            finished=_FINISHED in steps,
        )

    def log(self, run: Run, news: News) -> None:
        if news.facts:
            self._write(run, [_scalar(name, value) for name, value in news.facts.items()], 0)
        for row in news.rows:
            self._write(run, [_scalar(name, value) for name, value in row.values.items()], row.step)
        for name, path in news.files.items():
            self._folder_of(run).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self._folder_of(run) / name)
        if news.finished:
            table = [_text(_TABLE, run.table.as_markdown())] if run.table is not None else []
            self._write(run, [*table, _text(_FINISHED, "yes")], 0)
        if run.id in self._writers:
            self._writers[run.id].flush()
        if news.finished:
            self._close(run)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _folder_of(self, run: Run) -> Path:
        return self._folder / run.group / ("experiment" if run.is_parent else run.name)

    def _write(self, run: Run, summaries: list[Any], step: int) -> None:
        """Write one record. Each of its values has one event's step and time, and all or none are read back."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if run.id not in self._writers:
            self._writers[run.id] = EventFileWriter(str(self._folder_of(run)))
        values = [value for summary in summaries for value in summary.value]
        self._writers[run.id].add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _close(self, run: Run) -> None:
        writer = self._writers.pop(run.id, None)
        if writer is not None:
            writer.close()


def _scalar(name: str, value: float) -> Any:
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    return scalar_pb(name, value)


def _text(name: str, text: str) -> Any:
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(name, text)


def _points(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and step of every value in a folder's event files."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for path in sorted(folder.glob(_EVENTS)):
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            for value in event.summary.value:
                yield value.tag, event.step
