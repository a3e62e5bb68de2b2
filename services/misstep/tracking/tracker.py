"""What every tracker can do, and how to open the one that an Experiment names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from misstep.errors import BadInput
from misstep.plan.extras import need
from misstep.tracking.runs import Logged, News, Run

if TYPE_CHECKING:
    from misstep.spec.tracking import TrackerName, Tracking


class Tracker(Protocol):
    """A place that shows runs.

    Methods raise what the tracker's library raises. The caller then asks again with ``open`` what has arrived.
    """

    @property
    def place(self) -> str:
        """Where a person finds the runs, and what sets this place apart from others of its kind."""

    def open(self, run: Run) -> Logged:
        """Find the run by its id, or make it with its parameters; return what the tracker has of it."""

    def log(self, run: Run, news: News) -> None:
        """Add what is new of an opened run, rows in their order. With ``news.finished`` the run is over."""

    def close(self) -> None:
        """Send what is left, and let go of all runs."""


def need_trackers(command: str, tracking: Tracking) -> None:
    """Check that the libraries of all trackers that an Experiment names are installed. Raises NotInstalled."""
    need(command, *tracking.names)


def open_tracker(name: TrackerName, tracking: Tracking) -> Tracker:
    """Open a tracker that an Experiment names; nothing is contacted yet. Raises BadInput where it names none."""
    match name:
        case "mlflow" if tracking.mlflow is not None:
            from misstep.tracking.to_mlflow import MlflowTracker

            return MlflowTracker(tracking.mlflow)
        case "wandb" if tracking.wandb is not None:
            from misstep.tracking.to_wandb import WandbTracker

            return WandbTracker(tracking.wandb)
        case "trackio" if tracking.trackio is not None:
            from misstep.tracking.to_trackio import TrackioTracker

            return TrackioTracker(tracking.trackio)
        case "tensorboard" if tracking.tensorboard is not None:
            from misstep.tracking.to_tensorboard import TensorboardTracker

            return TensorboardTracker(tracking.tensorboard)
    raise BadInput("spec.tracking", name, f"It has no such tracker: add `{name}` to spec.tracking.")
