"""Reading a store for trackers: each committed stage once, and the logs of trainings that run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from misstep.artifacts.live_log import TrainingRows, read_live_log
from misstep.artifacts.manifest import committed_keys, read_own
from misstep.artifacts.reader import Reader
from misstep.evaluation.report_files import RESULTS, fetch_files
from misstep.evaluation.results import Results, read_results
from misstep.plan.kinds import KINDS
from misstep.plan.planner import Plan
from misstep.spec.rewrite import yaml_text
from misstep.store.base import Store
from misstep.tracking.from_stages import Seen

EXPERIMENT = "experiment.yaml"


class Gatherer:
    """Reads the stages of one plan. What is committed is read once; ``close`` removes the local copies."""

    def __init__(self, plan: Plan, resolved: Mapping[str, Any], store: Store) -> None:
        self._plan, self._store = plan, store
        self._temporary = tempfile.TemporaryDirectory(prefix="misstep-track-")
        self._folder = Path(self._temporary.name)
        self._reader = Reader(store, self._folder / "tables")
        self._summaries: dict[str, Mapping[str, Any]] = {}
        self._training: dict[str, TrainingRows] = {}
        self._results: Results | None = None
        (self._folder / EXPERIMENT).write_text(yaml_text(dict(resolved)), encoding="utf-8")
        self._files = {EXPERIMENT: self._folder / EXPERIMENT}

    def __call__(self) -> Seen:
        """Return what the stages have made by now.

        Raises:
            BadInput: a manifest is not its stage's, or an object differs from its manifest.
            MisstepError: the store does not answer.
        """
        unknown = [stage for stage in self._plan.stages if stage.key not in self._summaries]
        committed = committed_keys(self._store, [stage.key for stage in unknown])
        running: dict[str, TrainingRows] = {}
        for stage in unknown:
            trains = KINDS[stage.kind].trains
            manifest = read_own(self._store, stage) if stage.key in committed else None
            if manifest is None:
                rows = read_live_log(self._store, stage.key) if trains else None
                if rows is not None:
                    running[stage.key] = rows
                continue
            if trains:
                self._training[stage.key] = self._committed(stage.key)
            elif stage.key == self._plan.report.key:
                self._report(stage.key)
            self._summaries[stage.key] = manifest.summary
        return Seen(dict(self._summaries), {**running, **self._training}, self._results, dict(self._files))

    def close(self) -> None:
        self._reader.close()
        self._temporary.cleanup()

    def _committed(self, key: str) -> TrainingRows:
        tables = {name: self._reader.table(key, name).to_pylist() for name in ("log", "selection")}
        return TrainingRows.model_validate(tables)

    def _report(self, key: str) -> None:
        self._files |= fetch_files(self._store, self._reader.manifest(key), self._folder)
        if RESULTS in self._files:
            self._results = read_results(self._files[RESULTS].read_text(encoding="utf-8"))
