"""``misstep track``: log an experiment's runs into trackers, once or while it goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misstep.cli.cluster import InCluster
from misstep.cli.experiments import is_yaml, load
from misstep.cli.opened import Opened, open_experiment
from misstep.cli.options import CaBundleOption, EndpointOption, NamespaceOption, WhichArgument, WorkOption
from misstep.errors import EXIT_FAILED, BadInput, MisstepError
from misstep.text import did_you_mean

if TYPE_CHECKING:
    from misstep.plan.planner import Plan
    from misstep.spec.experiment import Experiment
    from misstep.spec.tracking import TrackerName, Tracking
    from misstep.store.base import Store

_PATIENCE = 10.0
_LOOK_AT_CLUSTER_SECONDS = 15.0
_ENDED = ("Succeeded", "Failed", "Invalid")
"""States of an Experiment in a cluster."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Look")(track)


def track(
    which: WhichArgument,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="TRACKER[=PLACE]",
            help="mlflow=URL, wandb=PROJECT, trackio=PROJECT or tensorboard=FOLDER. Without a place, it is that of "
            "spec.tracking, or the default. May be repeated.",
            show_default="all trackers of spec.tracking",
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Log into one tracker until the run has ended, as `misstep run` does."),
    ] = False,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
    endpoint: EndpointOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Log an experiment into MLflow, Weights & Biases, Trackio or TensorBoard.

    Nothing that a tracker has is sent to it again.

    One run for the experiment, and one below it for each training: losses, rewards, learning rates, verdicts, pits,
    tokens, the final table and the report.

    [dim]misstep track quickstart --to mlflow=http://localhost:5000[/dim]

    [dim]misstep track quickstart --to tensorboard --follow[/dim]
    """
    from misstep.cli.terminal import say
    from misstep.plan.extras import need
    from misstep.plan.kinds import StageKind
    from misstep.tracking.tracker import need_trackers

    opened = open_experiment("misstep track", which, work, namespace, endpoint, ca_bundle)
    if opened.plan.report.kind is not StageKind.REPORT:
        raise BadInput("experiment", opened.plan.experiment, "It is a search of `misstep tune`, which has no runs.")
    experiment = experiment_of(opened, which)
    names, tracking = chosen(experiment.spec.tracking, to)
    resolved = experiment.resolved()
    if follow and len(names) > 1:
        raise BadInput("--follow", ", ".join(names), "It logs into one tracker: name it with --to.")
    need("misstep track", "records")
    need_trackers("misstep track", tracking)
    missed = []
    for name in names:
        ended = _ended(opened) if follow else lambda: True
        with opened.store() as store:
            place, rows, whole = log(opened.plan, resolved, store, name, tracking, ended, follow)
        say(f"{name}: {rows:,} rows logged{'' if whole else '; some are missing'}; {place}")
        missed += [] if whole else [name]
    if missed:
        raise typer.Exit(EXIT_FAILED)


def log(
    plan: Plan,
    resolved: Mapping[str, Any],
    store: Store,
    name: TrackerName,
    tracking: Tracking,
    ended: Callable[[], bool],
    wait: bool,
    patience: float = _PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[str, int, bool]:
    """Log into one tracker; return its place, the rows logged, and whether it has everything now.

    Args:
        wait: whether to wait for another process that logs the experiment there.

    The others are those of `misstep.tracking.follow.follow`. Raises MisstepError where it does not wait.
    """
    from misstep.cli.terminal import say
    from misstep.tracking.follow import POLL_SECONDS, REMOTE_POLL_SECONDS, Logger, Turn
    from misstep.tracking.follow import follow as follow_run
    from misstep.tracking.gather import Gatherer
    from misstep.tracking.tracker import open_tracker

    poll = POLL_SECONDS if plan.storage.uri.startswith("file://") else REMOTE_POLL_SECONDS
    tracker = open_tracker(name, tracking)
    turn = Turn(plan, tracker)
    while not turn.take():
        if not wait:
            raise MisstepError(
                f"{name}, {tracker.place}: another process logs this experiment there. It may be a run that goes on: "
                "wait for its end."
            )
        sleep(poll)
    if wait:
        os.nice(10)  # the run's stages come first
    gather = Gatherer(plan, resolved, store)
    logger = Logger(plan, resolved, tracker)
    try:
        whole = follow_run(logger, gather, ended, say, patience, poll, sleep)
    finally:
        tracker.close()
        gather.close()
        turn.release()
    return tracker.place, logger.rows, whole


def experiment_of(opened: Opened, which: str) -> Experiment:
    """Return the Experiment that made a plan. Raises BadInput where nobody has kept it."""
    from misstep.spec.load import check_document

    if opened.namespace is not None:
        kept: dict[str, Any] | None = InCluster.find(opened.namespace, opened.plan.experiment).document
    elif is_yaml(which):
        return load(Path(which))
    else:
        kept = opened.workdir.read_experiment()
    if kept is None:
        fix = "An older Misstep ran it, and has not kept its settings: name its YAML file instead."
        raise BadInput("experiment", opened.plan.experiment, fix)
    return check_document(kept, f"the Experiment {opened.plan.experiment}")


def chosen(tracking: Tracking, to: list[str] | None) -> tuple[list[TrackerName], Tracking]:
    """Return which trackers to log into, and the settings of all of them.

    Args:
        to: ``NAME`` or ``NAME=PLACE``; by default all that the Experiment names.

    Raises:
        BadInput: there is no such tracker, or its place cannot be one.
    """
    from pydantic import ValidationError

    from misstep.spec.tracking import TRACKERS
    from misstep.spec.tracking import Tracking as Settings

    if not to:
        if not tracking.names:
            fix = (
                f"The experiment names no tracker: add spec.tracking to it, or --to with one of {', '.join(TRACKERS)}."
            )
            raise BadInput("--to", "not given", fix)
        return list(tracking.names), tracking
    data = tracking.model_dump(by_alias=True, exclude_none=True)
    names: list[TrackerName] = []
    for given in to:
        name, equals, place = given.partition("=")
        known = next((one for one in TRACKERS if one == name), None)
        if known is None:
            raise BadInput("--to", name, did_you_mean(name, TRACKERS, f"Trackers: {', '.join(TRACKERS)}."))
        own = data.setdefault(known, {})
        if equals:
            own[_PLACES[known]] = place
        if known == "wandb" and os.environ.get("WANDB_MODE") == "offline":
            own["mode"] = "offline"
        if known not in names:
            names.append(known)
    try:
        return names, Settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        name, field = str(first["loc"][0]), str(first["loc"][-1])
        fix = f"Write --to {name}={_PLACES_SHOWN.get(name, 'PROJECT')}: {first['msg']}."
        raise BadInput(f"--to {name}, {field}", data[name].get(field), fix) from error


_PLACES = {"mlflow": "uri", "wandb": "project", "trackio": "project", "tensorboard": "folder"}
_PLACES_SHOWN = {"mlflow": "http://HOST:PORT", "tensorboard": "FOLDER"}


def _ended(opened: Opened) -> Callable[[], bool]:
    """Return what says whether an experiment makes nothing more."""
    from misstep.runner.status import is_running

    if opened.namespace is None:
        return lambda: not is_running(opened.workdir.read_run())
    namespace, known, next_look = opened.namespace, False, 0.0

    def ended() -> bool:
        nonlocal known, next_look
        if time.monotonic() >= next_look:
            try:
                known = InCluster.find(namespace, opened.plan.experiment).status.get("state") in _ENDED
            except MisstepError:
                known = False  # the cluster does not answer: ask again
            next_look = time.monotonic() + _LOOK_AT_CLUSTER_SECONDS
        return known

    return ended
