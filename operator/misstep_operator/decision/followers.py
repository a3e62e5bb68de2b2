"""Decide which Jobs log an Experiment into its trackers. Pure. Nothing here has an effect on the Experiment's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from misstep_operator.decision.status import State
from misstep_operator.jobs.follower import follower_name
from misstep_operator.observed import FollowerView, Observed

_FOLLOWED = (State.RUNNING, State.WAITING, State.SUCCEEDED)
"""States in which a follower goes on. It ends by itself when it has logged the report."""


@dataclass(frozen=True)
class Followers:
    """What to do about the Jobs that log, and what is wrong with them."""

    to_delete: tuple[str, ...] = ()
    """Names of Jobs. A pod that is ended so logs what there is and stops."""
    to_create: tuple[str, ...] = ()
    """Trackers."""
    troubles: Mapping[str, str] | None = None
    """Tracker -> why no pod logs into it; None where the Experiment names no tracker."""


def decide_followers(observed: Observed, state: State, noted: bool) -> Followers:
    """Decide which Jobs log.

    The first one is created with the first Job of a stage, and where all stages are done already. One tracker has one
    Job that is alive: two pods could log a point twice.

    Args:
        state: the Experiment's new state.
        noted: whether its status is about this generation and its plan.
    """
    view = observed.experiment
    wanted = {follower_name(view, tracker): tracker for tracker in view.trackers} if state in _FOLLOWED else {}
    to_delete = tuple(
        sorted(job.name for job in observed.followers if job.alive and not job.terminating and job.name not in wanted)
    )
    to_create: tuple[str, ...] = ()
    if state is State.SUCCEEDED or (state is State.RUNNING and noted):
        present = {job.name for job in observed.followers}
        busy = {job.tracker for job in observed.followers if job.alive}
        to_create = tuple(
            tracker
            for name, tracker in wanted.items()
            if name not in present and tracker not in busy and tracker not in observed.refused
        )
    return Followers(to_delete, to_create, _troubles(observed, wanted))


def _troubles(observed: Observed, wanted: Mapping[str, str]) -> dict[str, str] | None:
    view = observed.experiment
    if not view.trackers and not view.not_tracked:
        return None
    present: dict[str, FollowerView] = {job.name: job for job in observed.followers}
    found = dict(view.not_tracked)
    for name, tracker in wanted.items():
        why = observed.refused.get(tracker) or (present[name].trouble if name in present else "")
        if why:
            found[tracker] = why
    return found
