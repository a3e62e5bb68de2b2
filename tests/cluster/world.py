"""A cluster in which an operator works on Experiments, as tests see it: by kubectl and by misstep's commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cluster.life import kubectl
from cluster.places import KUBECTL
from misstep.artifacts.reader import Reader
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.cluster.api import Api, Away, experiments, jobs
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
NAMESPACE = "research"
STAGES = 15
"""Of `experiment` as it is."""


def experiment(storage: dict[str, Any], name: str = "small", **changes: Any) -> dict[str, Any]:
    """The quickstart, cut down to fifteen stages of a few seconds."""
    spec: dict[str, Any] = {
        "storage": dict(storage),
        "problems": {
            "train": {"format": "strides", "limit": 200},
            "validation": {"format": "strides", "limit": 20},
            "test": {"format": "strides", "limit": 40},
            "sizes": [32],
        },
        "policy": {"model": {"name": "base", "path": str(ROOT / "examples/quickstart-base")}},
        "verification": {"answerFormat": "hash"},
        "sampling": {"samples": 4, "temperature": 1, "maxNewTokens": 48},
        "credit": {"estimator": "sequential", "rollouts": 5, "bestOf": 5, "negativesPerProblem": 1},
        "training": {
            "sft": {"learningRate": 1e-3, "epochs": 4, "batchSize": 16, "schedule": "constant"},
            "dpo": {"learningRate": 3e-4, "epochs": 1, "batchSize": 8},
        },
        "evaluation": {"samples": 1, "temperature": 0, "passAt": [1]},
        "arms": [{"name": "sft", "method": "sft"}, {"name": "dpo", "method": "dpo", "pairs": "shared-prefix"}],
        "resources": {"default": {"cpus": 1, "memory": "1Gi", "blockRows": 32}},
    }
    for path, value in changes.items():
        place = spec
        *outer, last = path.split("__")
        for step in outer:
            place = place.setdefault(step, {})
        place[last] = value
    return {"apiVersion": "misstep.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": name}, "spec": spec}


@dataclass(kw_only=True)
class World:
    """What a test holds.

    Args:
        storage: ``spec.storage`` of its Experiments.
        folder: of the test's own files.
        environment: of misstep's commands, with the store's credentials.
    """

    kubeconfig: Path
    storage: dict[str, Any]
    folder: Path
    environment: dict[str, str]
    namespace: str = NAMESPACE

    def experiment(self, name: str = "small", **changes: Any) -> dict[str, Any]:
        return experiment(self.storage, name, **changes)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return kubectl(self.kubeconfig, f"--namespace={self.namespace}", *arguments, stdin=stdin)

    def misstep(self, *arguments: str) -> str:
        more = {"KUBECONFIG": str(self.kubeconfig), "PATH": f"{KUBECTL.parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            [sys.executable, "-m", "misstep", *arguments],
            capture_output=True,
            text=True,
            env=self.environment | more,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def upload(self, document: dict[str, Any]) -> str:
        """Return the YAML of an Experiment whose model is in the store."""
        path = self.folder / f"{document['metadata']['name']}.yaml"
        path.write_text(json.dumps(document))
        return self.misstep("upload", str(path), "--storage", document["spec"]["storage"]["uri"])

    def apply(self, document: dict[str, Any]) -> None:
        self.kubectl("apply", "-f-", stdin=self.upload(document))

    @cached_property
    def api(self) -> Api:
        return Api(self.kubeconfig)

    def get(self, name: str) -> dict[str, Any]:
        path = f"{experiments(self.namespace)}/{name}"
        try:
            return self.api.call("GET", path)
        except Away:  # its old connection went with the API server
            return self.api.call("GET", path)

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.get(name).get("status") or {})

    def jobs(self, name: str) -> dict[str, dict[str, Any]]:
        """An Experiment's Jobs by name."""
        found = self.api.items(jobs(self.namespace), labelSelector=f"misstep.dev/experiment={name}")
        return {str(job["metadata"]["name"]): job for job in found}

    def wait(self, name: str, what: str, met: Callable[[dict[str, Any]], bool], seconds: float = 300) -> dict[str, Any]:
        """Wait until an Experiment's status is as wanted, and return it."""
        seen: dict[str, Any] = {}

        def is_met() -> bool:
            seen.clear()
            seen.update(self.status(name))
            return met(seen)

        eventually(is_met, seconds, lambda: f"no {what}: {json.dumps(seen, indent=1)}\n{self.log()[-4000:]}", every=0.3)
        return seen

    def wait_for_state(self, name: str, state: str, seconds: float = 300) -> dict[str, Any]:
        ends = {state, "Failed", "Invalid"}
        status = self.wait(name, state, lambda status: status.get("state") in ends, seconds)
        assert status["state"] == state, (status["message"], self.log()[-4000:])
        return status

    def log(self) -> str:
        """What the operator has logged."""
        raise NotImplementedError


def results(storage: Storage, key: str, scratch: Path) -> dict[str, Any]:
    """What a report found, without what differs between any two runs."""
    reader = Reader(open_store(storage), scratch)
    found: dict[str, Any] = json.loads((reader.folder(key, "") / "results.json").read_text())
    return {name: value for name, value in found.items() if name not in ("costs", "stages", "tools", "made")}


def stage_of(job: dict[str, Any]) -> str:
    return str(job["metadata"]["labels"]["misstep.dev/stage"])


def jobs_by_stage(world: World, name: str) -> Counter[str]:
    """How many Jobs there are of each stage now; a Job by hand deleted is not among them."""
    return Counter(map(stage_of, world.jobs(name).values()))
