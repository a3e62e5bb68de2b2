"""What ``status``, ``logs`` and ``report`` read of an Experiment in a cluster: through kubectl, with its context."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misstep.errors import BadInput, MisstepError

if TYPE_CHECKING:
    from misstep.plan.planner import Plan
    from misstep.runner.status import Row

NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAMESPACE",
        help="Look at the Experiment NAME in this namespace of kubectl's current cluster.",
    ),
]


@dataclass(frozen=True)
class InCluster:
    """An Experiment in a cluster, as it was when it was read."""

    namespace: str
    name: str
    body: Mapping[str, Any]

    @classmethod
    def find(cls, namespace: str, name: str) -> InCluster:
        """Read it. Raises BadInput where there is none, MisstepError where the cluster does not answer."""
        text = kubectl(namespace, "get", "experiments.misstep.dev", name, "-o", "json")
        return cls(namespace, name, json.loads(text))

    @property
    def status(self) -> Mapping[str, Any]:
        """What the operator has written; empty before its first pass."""
        return self.body.get("status") or {}

    def rows(self) -> list[Row]:
        """Describe its stages as ``misstep status`` shows them."""
        from misstep.runner.status import Row

        return [
            Row(
                stage=str(entry.get("name", "")),
                key=str(entry.get("key", "")),
                state=entry.get("state", "waiting"),
                detail="; ".join(filter(None, (_percent(entry), _attempt(entry), str(entry.get("message", ""))))),
            )
            for entry in self.status.get("stages") or ()
        ]

    def plan(self) -> Plan:
        """Read the plan that the operator has frozen. Raises as `find` does, and PlanUnreadable."""
        from misstep.plan.kept import plan_name, unpack

        generation = self.status.get("observedGeneration") or self.body["metadata"]["generation"]
        name = plan_name(self.name, self.body["metadata"]["uid"], generation)
        return unpack(json.loads(kubectl(self.namespace, "get", "configmap", name, "-o", "json")).get("binaryData"))

    def stream_logs(self, stage: str, *, follow: bool) -> None:
        """Print the logs of a stage's pods as kubectl does. Raises BadInput where the stage has no pods."""
        marks = f"misstep.dev/experiment={self.name},misstep.dev/stage={stage}"
        if not kubectl(self.namespace, "get", "pods", "-l", marks, "-o", "name").strip():
            known = ", ".join(row.stage for row in self.rows() if row.state in ("running", "done", "failed"))
            raise BadInput("STAGE", stage, f"It has no pods, or no longer. Stages that ran: {known or 'none'}.")
        more = ["--follow"] if follow else []
        command = [_program(), "logs", "-n", self.namespace, "-l", marks, "--tail=-1", "--prefix", *more]
        subprocess.run(command, check=False)  # noqa: S603 - no shell, and what it prints is for the user as it is


def kubectl(namespace: str, *arguments: str) -> str:
    """Run kubectl and return what it prints.

    Raises:
        BadInput: there is no kubectl, or not what it was asked for.
        MisstepError: the cluster does not answer or does not let us.
    """
    done = subprocess.run(  # noqa: S603 - as above
        [_program(), "-n", namespace, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = " ".join(done.stderr.split())
        if "NotFound" in said or "not found" in said:
            fix = f"`kubectl get experiments -n {namespace}` lists what is there."
            raise BadInput("experiment", arguments[-3] if len(arguments) > 2 else namespace, f"{said}. {fix}")
        raise MisstepError(f"kubectl: {said}")
    return done.stdout


def _program() -> str:
    found = shutil.which("kubectl")
    if found is None:
        raise BadInput("kubectl", "not found", "Install it, or leave --namespace out to look at runs of this machine.")
    return found


def _percent(entry: Mapping[str, Any]) -> str:
    return f"{entry.get('percent', 0)}%" if entry.get("state") == "running" else ""


def _attempt(entry: Mapping[str, Any]) -> str:
    attempt = entry.get("attempt", 0)
    return f"attempt {attempt}" if attempt > 1 else ""
