"""The folder of an experiment on this machine: logs, frozen stages, the last run's record, and its report."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from misstep.errors import BadInput
from misstep.plan.frozen import FrozenStage
from misstep.plan.planner import Plan
from misstep.runner.events import Event

ROOT = Path(".misstep")


class Workdir:
    """Paths, and reading and writing of the small files. Results are in the store, never only here."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, experiment: str) -> Workdir:
        return cls(ROOT / experiment)

    def create(self) -> None:
        """Raises BadInput where the folder cannot be made."""
        try:
            for folder in (self.root / "logs", self.root / "stages"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput("--work", str(self.root), f"{error.strerror}: name a folder that can be written.") from error

    def log(self, stage: str, shard: int) -> Path:
        return self.root / "logs" / f"{stage}.{shard}.log"

    def error(self, stage: str, shard: int) -> Path:
        """Return the file in which a stage's process leaves its last error."""
        return self.root / "logs" / f"{stage}.{shard}.error"

    def logs(self, stage: str) -> list[Path]:
        """Return the logs of a stage's shards, in their order."""
        found = (self.root / "logs").glob(f"{stage}.*.log")
        return sorted(
            (path for path in found if path.name.split(".")[-2].isdigit()),
            key=lambda path: int(path.name.split(".")[-2]),
        )

    def frozen(self, stage: str) -> Path:
        return self.root / "stages" / f"{stage}.json"

    def write_stage(self, stage: FrozenStage) -> Path:
        path = self.frozen(stage.name)
        _write(path, stage.model_dump_json(indent=1))
        return path

    def write_plan(self, plan: Plan) -> None:
        _write(self.root / "plan.json", plan.model_dump_json())

    def read_plan(self) -> Plan | None:
        """Return the plan of the last run here, or None where there was none."""
        try:
            return Plan.model_validate_json((self.root / "plan.json").read_bytes())
        except FileNotFoundError:
            return None

    def write_experiment(self, resolved: Mapping[str, Any]) -> None:
        """Write the Experiment with all its defaults, as JSON-like data with the names of its YAML."""
        _write(self.root / "experiment.json", json.dumps(resolved, indent=1))

    def read_experiment(self) -> dict[str, Any] | None:
        """Return the Experiment of the last run here, or None where there was none, or an older Misstep ran it."""
        try:
            return dict(json.loads((self.root / "experiment.json").read_bytes()))
        except FileNotFoundError:
            return None

    def read_run(self) -> dict[str, Any] | None:
        """Return the record of the last run here, or None."""
        try:
            return dict(json.loads((self.root / "run.json").read_bytes()))
        except FileNotFoundError:
            return None

    @property
    def run_file(self) -> Path:
        return self.root / "run.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"


class RunRecord:
    """Listener that writes ``run.json``: which process runs what since when, and all events but progress."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self._path = path
        self._record = {**about, "pid": os.getpid(), "outcome": None, "events": []}

    def on_event(self, event: Event) -> None:
        if event.what == "shard-progress":
            return
        self._record["events"].append(event.as_dict())
        if event.what == "run-ended":
            self._record["outcome"] = event.detail["outcome"]
        _write(self._path, json.dumps(self._record, indent=1))

    def on_tick(self, at: float) -> None:
        """Do nothing: progress is not recorded."""

    def close(self) -> None:
        """Do nothing: the file is whole after each event."""


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def last_error(said: Path, log: Path, start: int = 0, limit: int = 65536) -> str:
    """Return the last error of a stage's process; empty where there is none.

    It is the content of the file ``said``, else the last line of the log from byte ``start`` on.
    """
    try:
        return said.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        pass
    try:
        with log.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - limit))
            lines = file.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
