"""``misstep follow``: the program of the pod that logs an Experiment of a cluster into one tracker."""

from __future__ import annotations

import base64
import signal
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from misstep.errors import EXIT_FAILED, BadInput

_PATIENCE = 600.0
"""Seconds in which a tracker that is away is still tried again after the report is there. Then the pod fails, and
Kubernetes starts another one."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(hidden=True)(follow)


def follow(
    tracker: Annotated[str, typer.Argument(help="mlflow or wandb")],
    plan: Annotated[Path, typer.Argument(help="A plan as the operator keeps it: JSON, packed by gzip.")],
    experiment: Annotated[str, typer.Argument(help="The Experiment as JSON.")],
) -> None:
    """Log an Experiment into one tracker until its report is logged. The operator starts it in a pod.

    SIGTERM means that nothing more will be made: what there is is logged, and the exit code is 0.
    """
    from misstep.api.opening import store_of
    from misstep.cli.terminal import say
    from misstep.cli.track import chosen, log
    from misstep.plan.configmap import PLAN_FILE, unpack
    from misstep.plan.extras import need
    from misstep.spec.load import parse_experiment

    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: over.set())

    def sleep(seconds: float) -> None:
        if over.is_set():
            time.sleep(seconds)
        else:
            over.wait(seconds)

    given = parse_experiment(experiment, "the Experiment")
    (name,), tracking = chosen(given.spec.tracking, [tracker])
    if tracking.wandb is not None:  # a folder of the machine that wrote the Experiment is not here
        tracking = tracking.model_copy(update={"wandb": tracking.wandb.model_copy(update={"folder": ".misstep"})})
    need("misstep follow", "records", name)
    try:
        packed = plan.read_bytes()
    except OSError as error:
        raise BadInput("PLAN", str(plan), f"{error.strerror}: give the file with the plan.") from error
    made = unpack({PLAN_FILE: base64.b64encode(packed).decode()})
    place, rows, whole = log(
        made, given.resolved(), store_of(made), name, tracking, over.is_set, wait=True, patience=_PATIENCE, sleep=sleep
    )
    say(f"{name}: {rows:,} rows logged{'' if whole else '; some are missing'}; {place}")
    if not whole:
        raise typer.Exit(EXIT_FAILED)
