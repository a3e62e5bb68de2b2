"""Runs in Trackio's database on this machine; the runs of an experiment are a group."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator

from misstep.errors import MisstepError
from misstep.spec.tracking import TrackioTracking
from misstep.tracking.runs import Logged, News, Run

_FINISHED = "misstep/finished"
_STEP, _TIME = "step", "timestamp"


class TrackioTracker:
    """The database says what is there. Figures without a step stand at step 0. The library keeps errors to itself, so
    what was logged is read back."""

    def __init__(self, settings: TrackioTracking) -> None:
        for elsewhere in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
            os.environ.pop(elsewhere, None)  # in this process: it logs to this machine alone
        self._project = settings.project

    @property
    def place(self) -> str:
        from trackio.utils import TRACKIO_DIR

        return f"{TRACKIO_DIR} project {self._project}"

    def open(self, run: Run) -> Logged:
        steps: dict[str, int] = {}
        for step, names in self._rows(run):
            for name in names:
                steps[name] = max(step, steps.get(name, 0))
        return Logged(
            steps={name: step for name, step in steps.items() if step},
            facts=frozenset(name for name, step in steps.items() if not step),
            files=frozenset(run.files),
            finished=_FINISHED in steps,
        )

    def log(self, run: Run, news: News) -> None:
        import trackio

        first = dict(news.facts) | ({_FINISHED: 1.0} if news.finished else {})
        table = {"results": trackio.Markdown(run.table.as_markdown())} if news.finished and run.table else {}
        with _quietly():
            opened = trackio.init(
                project=self._project,
                name=_name_of(run),
                group=run.group,
                config=dict(run.params),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            for row in news.rows:
                opened.log(dict(row.values), step=row.step)
            if first:
                opened.log(first | table, step=0)
            trackio.finish()  # type: ignore[no-untyped-call]
        left = self.open(run).missing_of(run)
        if {row.step for row in left.rows} & {row.step for row in news.rows} or left.facts.keys() & news.facts.keys():
            raise MisstepError(f"Trackio has not taken all points of {_name_of(run)}")

    def close(self) -> None:
        """Nothing is waiting to be sent."""

    def _rows(self, run: Run) -> Iterator[tuple[int, list[str]]]:
        from trackio.sqlite_storage import SQLiteStorage

        for row in SQLiteStorage.get_logs(self._project, _name_of(run)):
            yield int(row[_STEP]), [name for name in row if name not in (_STEP, _TIME)]


def _name_of(run: Run) -> str:
    """Return a name that no other experiment's run has in the project."""
    return run.id if run.is_parent else f"{run.group}-{run.name}"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the library's greetings off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
