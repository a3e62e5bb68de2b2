"""``spec.tracking``: the trackers that show an experiment's runs. Nothing here enters a stage's key."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from misstep.spec.fields import SpecModel

TrackerName = Literal["mlflow", "wandb", "trackio", "tensorboard"]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)
_PROJECT = r"^[A-Za-z0-9][-_.A-Za-z0-9]{0,99}$"


class MlflowTracking(SpecModel):
    """An MLflow server. Credentials come from the environment: `MLFLOW_TRACKING_USERNAME` and
    `MLFLOW_TRACKING_PASSWORD`, or `MLFLOW_TRACKING_TOKEN`."""

    uri: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$", max_length=500)
    """Address of the server, for example `http://localhost:5000`."""
    experiment: str = Field(default="misstep", min_length=1, max_length=200)
    """The MLflow experiment that gets the runs; it is made where there is none."""


class WandbTracking(SpecModel):
    """Weights & Biases. The key comes from the environment, `WANDB_API_KEY`; so does the address of a server of your
    own, `WANDB_BASE_URL`."""

    project: str = Field(default="misstep", pattern=_PROJECT)
    """The project that gets the runs."""
    entity: str | None = Field(default=None, pattern=_PROJECT)
    """The team or user that owns the project; by default that of the key."""
    mode: Literal["online", "offline"] = "online"
    """`offline`: write files below `folder`, which `wandb sync` sends later."""
    folder: str = Field(default=".misstep", min_length=1, max_length=1024)
    """Where W&B keeps its files, in a folder `wandb`; relative to the current directory."""


class TrackioTracking(SpecModel):
    """Trackio on this machine: `trackio show` opens its page. `TRACKIO_DIR` moves its files."""

    project: str = Field(default="misstep", pattern=_PROJECT)
    """The project that gets the runs."""


class TensorboardTracking(SpecModel):
    """Event files for TensorBoard: `tensorboard --logdir FOLDER` shows them."""

    folder: str = Field(default=".misstep/tensorboard", min_length=1, max_length=1024)
    """Where event files are written, in a folder for each run; relative to the current directory."""


class Tracking(SpecModel):
    """Trackers that show this experiment's runs, as many as you like: `tensorboard: {}` is enough for one. Each gets a
    run for the experiment and one below it for every training. On one machine `misstep run` logs while stages run. In a
    cluster a pod logs into MLflow and into Weights & Biases online; for others `misstep track NAME --namespace
    NAMESPACE` does it from where you are. Nothing here changes a result or enters a key."""

    mlflow: MlflowTracking | None = None
    """Log to an MLflow server."""
    wandb: WandbTracking | None = None
    """Log to Weights & Biases."""
    trackio: TrackioTracking | None = None
    """Log to Trackio."""
    tensorboard: TensorboardTracking | None = None
    """Log to files that TensorBoard shows."""

    @property
    def names(self) -> tuple[TrackerName, ...]:
        """The trackers that are asked for."""
        return tuple(name for name in TRACKERS if getattr(self, name) is not None)
