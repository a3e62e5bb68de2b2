"""Runs in Weights & Biases, online or as files for ``wandb sync``; the runs of an experiment are a group."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from misstep.spec.tracking import WandbTracking
from misstep.tracking.runs import Logged, News, Run
from misstep.tracking.wandb_files import logged_in

if TYPE_CHECKING:
    import wandb

_STEP = "_step"
_START_SECONDS = 60.0


class WandbTracker:
    """A run has an id of ours, so that it is found again. W&B takes rows in the order of their steps alone, and each
    once. Figures without a step are in the run's summary."""

    def __init__(self, settings: WandbTracking) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        # A parent that uses W&B itself hands its helper process on. There a run of a killed process stays in use.
        os.environ.pop("WANDB_SERVICE", None)
        self._settings = settings
        self._folder = Path(settings.folder).expanduser().resolve()
        self._runs: dict[str, wandb.Run] = {}

    @property
    def place(self) -> str:
        whose = f"{self._settings.entity}/" if self._settings.entity else ""
        where = str(self._folder / "wandb") if self._offline else os.environ.get("WANDB_BASE_URL", "wandb.ai")
        return f"{where} project {whose}{self._settings.project}"

    @property
    def _offline(self) -> bool:
        return self._settings.mode == "offline"

    def open(self, run: Run) -> Logged:
        self._close(run.id, 1)
        if self._offline:
            return logged_in(sorted((self._folder / "wandb").glob(f"offline-run-*-{run.id}/run-{run.id}.wandb")))
        opened = self._opened(run)
        summary = dict(opened.summary)
        uploaded = {artifact.name.partition(":")[0] for artifact in _artifacts_of(opened)} if run.files else set()
        return Logged(
            floor=int(summary.get(_STEP, 0)),
            facts=frozenset(summary),
            files=frozenset(name for name in run.files if _artifact_name(run, name) in uploaded),
        )

    def log(self, run: Run, news: News) -> None:
        import wandb

        opened = self._opened(run)
        for row in news.rows:
            opened.log(dict(row.values), step=row.step)
        for name, value in news.facts.items():
            opened.summary[name] = value
        for name, path in news.files.items():
            artifact = wandb.Artifact(_artifact_name(run, name), type="report")
            artifact.add_file(str(path), name=name)
            if name == "results.csv" and run.table is not None:
                artifact.add(wandb.Table(list(run.table.columns), [list(row) for row in run.table.rows]), "results")
            opened.log_artifact(artifact)
        if news.finished:
            self._close(run.id, 0)

    def close(self) -> None:
        for identity in list(self._runs):
            self._close(identity, 1)

    def _opened(self, run: Run) -> wandb.Run:
        import wandb

        if run.id not in self._runs:
            self._folder.mkdir(parents=True, exist_ok=True)
            settings = wandb.Settings(
                root_dir=str(self._folder),
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
                init_timeout=_START_SECONDS,
            )
            self._runs[run.id] = wandb.init(
                project=self._settings.project,
                entity=self._settings.entity,
                mode=self._settings.mode,
                id=run.id,
                name=run.name,
                group=run.group,
                job_type=run.job,
                config=dict(run.params),
                resume=None if self._offline else "allow",
                reinit="create_new",
                settings=settings,
            )
        return self._runs[run.id]

    def _close(self, identity: str, exit_code: int) -> None:
        """End a run in this process; with an exit code other than 0 it is one that goes on elsewhere."""
        opened = self._runs.pop(identity, None)
        if opened is not None:
            opened.finish(exit_code=exit_code)


def _artifact_name(run: Run, name: str) -> str:
    return f"{run.id}-{name}"


def _artifacts_of(opened: wandb.Run) -> list[wandb.Artifact]:
    import wandb

    api = wandb.Api(timeout=20)
    return list(api.run(f"{opened.entity}/{opened.project}/{opened.id}").logged_artifacts())
