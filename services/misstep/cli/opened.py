"""The experiment that ``report`` and ``audit`` read: on this machine, or in a cluster with the caller's own keys."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from misstep.cli.cluster import InCluster, options_for_fields, own_storage
from misstep.cli.experiments import find_run, workdir_for
from misstep.errors import BadInput

if TYPE_CHECKING:
    from misstep.plan.planner import Plan
    from misstep.runner.workdir import Workdir
    from misstep.store.base import Store
    from misstep.store.description import Storage


@dataclass(frozen=True)
class Opened:
    """An experiment, where its results are, and its folder on this machine."""

    workdir: Workdir
    plan: Plan
    storage: Storage
    namespace: str | None

    @property
    def status_command(self) -> str:
        """The command that shows how far it is."""
        return f"misstep status {shlex.quote(self.plan.experiment)}{_in(self.namespace)}"

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Open the store; errors of the block name the options that count here."""
        from misstep.store.open import open_store

        with nullcontext() if self.namespace is None else options_for_fields():
            yield open_store(self.storage, patient=False)


def open_experiment(
    command: str, which: str, work: Path | None, namespace: str | None, endpoint: str | None, ca_bundle: str | None
) -> Opened:
    """Find an experiment and its plan.

    Args:
        command: what the caller runs, such as ``misstep report``, for error messages.
        which: a YAML or a name; with a namespace its name there.

    Raises:
        BadInput: it is not there, has no plan, or an option does not fit.
    """
    if namespace is not None:
        there = InCluster.find(namespace, which)
        plan = there.plan()
        workdir = workdir_for(there.name, work)  # the plan may not name the folder: it is a tenant's ConfigMap
        again = f"{command} {shlex.quote(there.name)}{_in(namespace)}"
        return Opened(workdir, plan, own_storage(plan.storage, endpoint, ca_bundle, again), namespace)
    for option, value in (("--endpoint", endpoint), ("--ca-bundle", ca_bundle)):
        if value is not None:
            raise BadInput(
                option, value, "Use it with --namespace: the plan of an experiment that ran here names its store."
            )
    workdir, plan = find_run(which, work)
    return Opened(workdir, plan, plan.storage, None)


def _in(namespace: str | None) -> str:
    return "" if namespace is None else f" --namespace {shlex.quote(namespace)}"
