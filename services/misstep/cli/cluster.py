"""What ``status``, ``logs``, ``report`` and ``audit`` read of an Experiment in a cluster, by kubectl with its current
context, and of its store, with the caller's own keys.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput, MisstepError
from misstep.plan.state import StageState
from misstep.store.addresses import environments_endpoint
from misstep.text import did_you_mean

if TYPE_CHECKING:
    from misstep.plan.planner import Plan
    from misstep.runner.status import Row
    from misstep.store.description import Storage


@dataclass(frozen=True)
class InCluster:
    """An Experiment in a cluster, as it was when it was read."""

    namespace: str
    name: str
    body: Mapping[str, Any]

    @classmethod
    def find(cls, namespace: str, name: str) -> InCluster:
        """Read it. Raises BadInput where there is none, MisstepError where the cluster does not answer."""
        try:
            text = kubectl(namespace, "get", "experiments.misstep.dev", name, "-o", "json")
        except NotThere as error:
            raise BadInput(
                "experiment", name, f"{error}. `kubectl get experiments -n {namespace}` lists what is there."
            ) from error
        return cls(namespace, name, json.loads(text))

    @property
    def document(self) -> dict[str, Any]:
        """The Experiment as a file would have it: without its status, and without what the cluster has added to its
        metadata."""
        return {**{part: self.body[part] for part in ("apiVersion", "kind", "spec")}, "metadata": {"name": self.name}}

    @property
    def status(self) -> Mapping[str, Any]:
        """What the operator has written; empty before its first pass."""
        return self.body.get("status") or {}

    @property
    def standing(self) -> str:
        """Its state, and the reason where the operator gives one."""
        state = str(self.status.get("state", "not seen by an operator yet"))
        return f"{state}: {self.status['message']}" if self.status.get("message") else state

    def rows(self) -> list[Row]:
        """Describe its stages as ``misstep status`` shows them."""
        from misstep.runner.status import Row

        return [
            Row(
                stage=str(entry.get("name", "")),
                key=str(entry.get("key", "")),
                state=_state(entry),
                detail="; ".join(filter(None, (_percent(entry), _attempt(entry), _obstacle(entry)))),
                warning=_message(entry) if _state(entry) is StageState.DONE else "",
            )
            for entry in self.status.get("stages") or ()
        ]

    def plan(self) -> Plan:
        """Read the plan that the operator has frozen. Raises as `find` does, and PlanUnreadable.

        One that is Invalid, or that no operator has seen, has none: the BadInput says how it stands.
        """
        from misstep.plan.configmap import PlanUnreadable, digest, plan_name, unpack

        generation = self.status.get("observedGeneration") or self.body["metadata"]["generation"]
        name = plan_name(self.name, self.body["metadata"]["uid"], generation)
        try:
            text = kubectl(self.namespace, "get", "configmap", name, "-o", "json")
        except NotThere as error:
            fix = f"{self.standing.rstrip('.')}. There is no plan of it: no ConfigMap {name}."
            raise BadInput("experiment", self.name, fix) from error
        data, noted = json.loads(text).get("binaryData"), self.status.get("planDigest")
        if noted and digest(data) != noted:
            raise PlanUnreadable(
                f"the ConfigMap {name} does not hold the plan that the operator noted: {self.standing}"
            )
        return unpack(data)

    def stream_logs(self, stage: str, *, shard: int | None, follow: bool) -> int:
        """Print the logs of a stage's pods as kubectl does, but harmless, and return its exit code.

        Raises:
            BadInput: there is no such stage, or it has no pods.
        """
        rows = {row.stage: row for row in self.rows()}
        if stage not in rows:
            fix = (
                did_you_mean(stage, rows, "`misstep status` lists the stages.")
                if rows
                else f"{self.name} has no stages: {self.standing}"
            )
            raise BadInput("STAGE", stage, fix)
        from misstep.plan.labels import stage_label

        # The key leaves out pods that ran before the Experiment was edited.
        labels = {"experiment": self.name, "stage": stage_label(stage), "key": rows[stage].key}
        marks = ",".join(f"misstep.dev/{name}={value}" for name, value in labels.items() if value)
        if shard is not None:
            marks += f",batch.kubernetes.io/job-completion-index={shard}"
        pods = kubectl(self.namespace, "get", "pods", "-l", marks, "-o", "name").split()
        if not pods:
            ran = (StageState.RUNNING, StageState.DONE, StageState.FAILED)
            known = ", ".join(row.stage for row in rows.values() if row.state in ran)
            which = "It" if shard is None else f"Its shard {shard}"
            raise BadInput("STAGE", stage, f"{which} has no pods, or no longer. Stages that ran: {known or 'none'}.")
        # kubectl follows five pods unless it is told how many there are.
        more = ["--follow", f"--max-log-requests={len(pods)}"] if follow else []
        command = [_program(), "logs", "-n", self.namespace, "-l", marks, "--tail=-1", "--prefix", *more]
        from misstep.cli.terminal import run_and_show

        return run_and_show(command)


class NotThere(MisstepError):
    """The cluster has no object of that name."""


def kubectl(namespace: str, *arguments: str) -> str:
    """Run kubectl and return what it prints.

    Raises:
        BadInput: there is no kubectl.
        NotThere: the cluster has no such object.
        MisstepError: the cluster does not answer or does not let us.
    """
    done = subprocess.run(  # noqa: S603 - no shell
        [_program(), "-n", namespace, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = " ".join(done.stderr.split())
        if "(NotFound)" in said:  # the API server's word; kubectl says "not found" of a missing plugin too
            raise NotThere(said)
        raise MisstepError(f"kubectl: {said}")
    return done.stdout


def _program() -> str:
    found = shutil.which("kubectl")
    if found is None:
        raise BadInput("kubectl", "not found", "Install it, or leave out --namespace to see runs of this machine.")
    return found


def _state(entry: Mapping[str, Any]) -> StageState:
    return StageState.parse(entry.get("state"))


def _message(entry: Mapping[str, Any]) -> str:
    return str(entry.get("message", ""))


def _obstacle(entry: Mapping[str, Any]) -> str:
    """Return the message of a stage that is not done; the message of a finished stage is a warning."""
    return "" if _state(entry) is StageState.DONE else _message(entry)


def _percent(entry: Mapping[str, Any]) -> str:
    return f"{entry.get('percent', 0)}%" if _state(entry) is StageState.RUNNING else ""


def _attempt(entry: Mapping[str, Any]) -> str:
    attempt = entry.get("attempt", 0)
    return f"attempt {attempt}" if attempt > 1 else ""


def own_storage(storage: Storage, endpoint: str | None, ca_bundle: str | None, command: str) -> Storage:
    """Return a plan's storage with the server and certificates that the caller names, and none that the plan names.

    Whoever may create Experiments chooses ``spec.storage`` in the plan. Requests that the caller's keys have signed
    would be sent to its ``endpoint``, and its ``caBundle`` is a path in a pod, not on this machine.

    Args:
        endpoint: value of the option; without it, AWS or the server that the caller's environment names.
        command: the command to run again with ``--endpoint``, for the error message.

    Raises:
        BadInput: the plan names a server that neither the option nor the environment does, a folder of this machine,
            or the option a file that is not there.
    """
    if not storage.uri.startswith("s3://"):
        raise BadInput("storage of the plan", storage.uri, "A cluster's store is s3://BUCKET/PREFIX: nothing is read.")
    if ca_bundle is not None and not Path(ca_bundle).is_file():
        raise BadInput("--ca-bundle", ca_bundle, "There is no such file: name a PEM file of this machine.")
    named = storage.endpoint
    _, own = environments_endpoint() or ("", "")
    if endpoint is None and named is not None and named.rstrip("/") != own.rstrip("/"):
        raise BadInput(
            "endpoint of the plan",
            named,
            "Whoever wrote the Experiment chose this server, and requests that your keys sign would be sent there. If "
            f"you trust it: {command} --endpoint {shlex.quote(named)}. The variable AWS_ENDPOINT_URL serves too"
            + (f"; yours is {own}." if own else "."),
        )
    return storage.model_copy(update={"endpoint": endpoint, "ca_bundle": ca_bundle})


@contextmanager
def options_for_fields() -> Iterator[None]:
    """Replace fields of the spec in the store's errors by the options, which count here."""
    options = {"spec.storage.caBundle": "--ca-bundle", "spec.storage.endpoint": "--endpoint"}
    try:
        yield
    except BadInput as error:
        if error.field not in options:
            raise
        fix = error.fix.replace(error.field, options[error.field])
        raise BadInput(options[error.field], error.value, fix) from error
