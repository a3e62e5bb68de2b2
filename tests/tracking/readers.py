"""What trackers have, read as their own tools read it: run's name -> metric -> (step, value)."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from tests.tracking.finished import Points

Runs = dict[str, Points]


def in_tensorboard(folder: Path) -> Runs:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found: Runs = {}
    for run in sorted(folder.glob("*/*")):
        events = EventAccumulator(str(run), size_guidance={"tensors": 0})
        events.Reload()
        found[run.name] = {
            tag: [(event.step, make_ndarray(event.tensor_proto).item()) for event in events.Tensors(tag)]
            for tag in events.Tags()["tensors"]
            if not tag.startswith("misstep/") and tag != "results/table"
        }
    return found


def in_trackio(project: str) -> Runs:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    found: Runs = {}
    for run in trackio.Api().runs(project):
        points = defaultdict(list)
        for row in SQLiteStorage.get_logs(project, run.name):
            for name, value in row.items():
                if isinstance(value, float):
                    points[name].append((row["step"], value))
        found[run.name] = points
    return found


def in_wandb_files(folder: Path) -> Runs:
    """The library can send offline files and not read them, so this uses the project's reader of records."""
    from misstep.tracking.wandb_files import records

    found: Runs = {}
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        points = found.setdefault(path.stem.removeprefix("run-"), defaultdict(list))
        for record in records(path.read_bytes()):
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                points[name].append((record.history.step.num, json.loads(item.value_json)))
    return found
