"""A process that logs a finished experiment, and is killed so many seconds after it began to log a training."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from misstep.runner.workdir import Workdir
from misstep.spec.load import check_document
from misstep.spec.tracking import Tracking
from misstep.store.open import open_store
from misstep.tracking.follow import Logger
from misstep.tracking.gather import Gatherer
from misstep.tracking.runs import News, Run
from misstep.tracking.tracker import Tracker, open_tracker


def log(folder: Path, name: str, tracking: Tracking, kill_after: float | None) -> int:
    """Log all there is; return how many rows were new."""
    workdir = Workdir(folder / "work")
    plan, kept = workdir.read_plan(), workdir.read_experiment()
    assert plan is not None and kept is not None
    tracker = open_tracker(name, tracking)  # type: ignore[arg-type]
    if kill_after is not None:
        _kill(tracker, kill_after)
    logger = Logger(plan, check_document(kept, "kept").resolved(), tracker)
    gather = Gatherer(plan, kept, open_store(plan.storage))
    logger.update(gather())
    tracker.close()
    gather.close()
    return logger.rows


def _kill(tracker: Tracker, seconds: float) -> None:
    whole = tracker.log

    def killed(run: Run, news: News) -> None:
        if not run.is_parent:
            threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        whole(run, news)

    tracker.log = killed  # type: ignore[method-assign]


if __name__ == "__main__":
    log(Path(sys.argv[1]), sys.argv[2], Tracking.model_validate_json(sys.argv[3]), float(sys.argv[4]))
