"""``misstep.Run``: the stages of an experiment as they were planned, and what they have left."""

from __future__ import annotations

import time
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from misstep.api.opening import find_run, store_of
from misstep.errors import BadInput
from misstep.text import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from misstep.api.artifacts import Artifacts
    from misstep.api.status import Status
    from misstep.evaluation.results import Results
    from misstep.plan.planner import Plan
    from misstep.runner.workdir import Workdir
    from misstep.store.base import Store


class Run:
    """An experiment that ran, or runs: its stages, their results in the store, and its folder on this machine.

    `Run.find` opens the last one of a name. `Experiment` opens one by its file, whether it has run or not.

    Attributes:
        plan: the stages, with their keys.
        workdir: the folder with logs, the plan and the report.
    """

    def __init__(self, plan: Plan, workdir: Workdir, store: Store | None = None) -> None:
        self.plan, self.workdir = plan, workdir
        self._store = store

    @classmethod
    def find(cls, which: str | PathLike[str], *, work: str | PathLike[str] | None = None) -> Run:
        """Find the last run of an experiment on this machine.

        Args:
            which: its name, or its YAML.
            work: the folder of its logs, where it is not ``.misstep/NAME`` in the current folder.

        Raises:
            BadInput: no such experiment has run here.
        """
        workdir, plan = find_run(fspath(which), None if work is None else Path(work))
        return cls(plan, workdir)

    def __repr__(self) -> str:
        return f"<Run of {self.name}: {len(self.plan.stages)} stages, in {self.plan.storage.uri}>"

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.plan.experiment

    @cached_property
    def store(self) -> Store:
        """The store of its results, opened."""
        return self._store or store_of(self.plan)

    def status(self) -> Status:
        """Return which stages are done, running (and how far), failed (and why) or waiting.

        Raises:
            MisstepError: the store cannot be read.
        """
        from misstep.api.status import Status
        from misstep.artifacts.watch import StoreWatch
        from misstep.runner.status import stage_rows

        rows = stage_rows(self.plan, StoreWatch(self.store), self.workdir.read_run(), now=time.time())
        return Status(self.name, tuple(rows))

    def logs(self, stage: str, shard: int | None = None) -> list[Path]:
        """Return the logs of a stage's processes on this machine: of one shard, or of all in their order.

        Raises:
            BadInput: there is no such stage, or it has not run here.
        """
        names = [one.name for one in self.plan.stages]
        if stage not in names:
            raise BadInput("STAGE", stage, did_you_mean(stage, names, "`misstep status` lists the stages."))
        own = self.workdir
        paths = [path for path in own.logs(stage) if shard is None or path == own.log(stage, shard)]
        if not paths:
            raise BadInput("STAGE", stage, f"It has not run here yet: it has no log in {own.root / 'logs'}.")
        return paths

    def figures(self) -> Results:
        """Return everything that the report has found, as typed data: ``headline``, ``conclusion``, ``notes``, ``fit``,
        ``cells``, ``points``, ``comparisons``, ``credit``.

        Raises:
            BadInput: there is no report yet.
            Damaged: what the store has is not what was written.
        """
        from misstep.api.report import read_figures

        return read_figures(self.store, self.plan)

    def results(self) -> pd.DataFrame:
        """Return a table with one row for each arm, size and seed: the columns of ``results.csv``.

        Raises:
            NotInstalled: pandas is not installed.
            BadInput: there is no report yet.
        """
        from misstep.api.frames import results_frame

        return results_frame(self.figures())

    def summary(self) -> pd.DataFrame:
        """Return a table with one row for each arm and size, over all seeds, with 95% intervals and what a problem is
        worth. Raises as `results` does."""
        from misstep.api.frames import summary_frame

        return summary_frame(self.figures())

    def report(self, folder: str | PathLike[str] | None = None) -> dict[str, Path]:
        """Copy the report's files into a folder, by default that of the logs.

        Returns:
            ``report.html``, ``results.json`` and ``results.csv``, each with its path.

        Raises:
            BadInput: there is no report yet.
            Damaged: a file is not what was written.
        """
        from misstep.api.report import fetch_report

        return fetch_report(self.store, self.plan, self.workdir.root if folder is None else Path(folder))

    def artifacts(self) -> Artifacts:
        """Return what each finished stage has written, by the stage's name.

        Raises:
            Foreign: a result is another stage's.
            MisstepError: the store cannot be read.
        """
        from misstep.api.artifacts import Artifacts

        return Artifacts.of(self.plan, self.store)
