"""An operator at work on a real API server, with a node of processes and a real S3 server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2
import lightkube
import yaml
from lightkube import KubeConfig
from lightkube.resources.batch_v1 import Job

from cluster.life import kubectl
from cluster.places import KUBECTL, ClusterError
from misstep_operator.cluster import Experiments
from tests.artifacts.servers import ACCESS, BUCKET, SECRET, free_port, make_bucket
from tests.chart.rendering import objects as chart_objects

ROOT = Path(__file__).parents[2]
NAMESPACE = "research"
SYSTEM, OPERATOR_ACCOUNT = "system", "misstep-operator"
SECRET_NAME = "misstep-s3"
SERVICES = ("GENERATION", "VERIFICATION", "CREDIT", "TRAINING", "EVALUATION")


def experiment(endpoint: str, name: str = "small", **changes: Any) -> dict[str, Any]:
    """The quickstart, cut down to fourteen stages of a few seconds."""
    spec: dict[str, Any] = {
        "storage": {"uri": f"s3://{BUCKET}/runs", "endpoint": endpoint, "pathStyle": True, "region": "us-east-1"},
        "problems": {
            "train": {"format": "strides", "limit": 200},
            "validation": {"format": "strides", "limit": 20},
            "test": {"format": "strides", "limit": 40},
            "sizes": [32],
        },
        "policy": {"model": {"name": "base", "path": str(ROOT / "examples/quickstart-base")}},
        "verification": {"answerFormat": "hash"},
        "sampling": {"samples": 4, "temperature": "1", "maxNewTokens": 48},
        "credit": {"estimator": "sequential", "rollouts": 5, "bestOf": 5, "negativesPerProblem": 1},
        "training": {
            "sft": {"learningRate": "1e-3", "epochs": 4, "batchSize": 16, "schedule": "constant"},
            "dpo": {"learningRate": "3e-4", "epochs": 1, "batchSize": 8},
        },
        "evaluation": {"samples": 1, "temperature": "0", "passAt": [1]},
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


@dataclass
class Operating:
    """What a test holds: the cluster, the S3 server, the operator's process."""

    kubeconfig: Path
    endpoint: str
    folder: Path
    environment: dict[str, str]
    operator_kubeconfig: Path
    namespace: str = NAMESPACE
    operators: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ports: dict[int, int] = field(default_factory=dict)
    """Process id of an operator -> where it serves its health and metrics."""

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
        """Return the YAML of an Experiment whose model lies in the store."""
        path = self.folder / f"{document['metadata']['name']}.yaml"
        path.write_text(json.dumps(document))
        return self.misstep("upload", str(path), "--storage", document["spec"]["storage"]["uri"])

    def apply(self, document: dict[str, Any]) -> None:
        self.kubectl("apply", "-f-", stdin=self.upload(document))

    def start_operator(self, server: str = "", **settings: str) -> subprocess.Popen[bytes]:
        """Start an operator.

        Args:
            server: URL of a proxy through which it shall reach the API server.
            settings: more of its environment.
        """
        port = free_port()
        more = {"KUBECONFIG": str(self._reaching(server)), "MISSTEP_METRICS_PORT": str(port)}
        more |= {"MISSTEP_OPERATOR_IDENTITY": f"operator-{port}", **settings}
        with (self.folder / "operator.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "misstep_operator", "run"], env=self.environment | more, stdout=log, stderr=log
            )
        self.operators.append(process)
        self.ports[process.pid] = port
        return process

    def _reaching(self, server: str) -> Path:
        if not server:
            return self.operator_kubeconfig
        document = yaml.safe_load(self.operator_kubeconfig.read_text())
        document["clusters"][0]["cluster"]["server"] = server
        path = self.folder / f"operator-{server.rpartition(':')[2]}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    def stop_operators(self, number: int = signal.SIGTERM) -> None:
        for process in self.operators:
            process.send_signal(number)
        for process in self.operators:
            process.wait(20)
        self.operators.clear()

    @cached_property
    def client(self) -> lightkube.Client:
        """For what is asked often: kubectl takes a while to start."""
        return lightkube.Client(config=KubeConfig.from_file(str(self.kubeconfig)), namespace=self.namespace)

    def get(self, name: str) -> dict[str, Any]:
        try:
            found = self.client.get(Experiments, name)
        except httpx2.TransportError:  # the API server was away, and its old connection with it
            found = self.client.get(Experiments, name)
        body: dict[str, Any] = found.to_dict()
        return body

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.get(name).get("status") or {})

    def jobs(self, name: str) -> dict[str, dict[str, Any]]:
        """An Experiment's Jobs by name."""
        found = self.client.list(Job, labels={"misstep.dev/experiment": name})
        return {str(job.metadata.name): job.to_dict() for job in found if job.metadata}

    def wait(self, name: str, what: str, met: Callable[[dict[str, Any]], bool], seconds: float = 300) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            status = self.status(name)
            if met(status):
                return status
            assert time.monotonic() < end, f"no {what}: {json.dumps(status, indent=1)}\n{self.log()[-4000:]}"
            time.sleep(0.3)

    def wait_for_state(self, name: str, state: str, seconds: float = 300) -> dict[str, Any]:
        ends = {state, "Failed", "Invalid"}
        status = self.wait(name, state, lambda status: status.get("state") in ends, seconds)
        assert status["state"] == state, (status["why"], self.log()[-4000:])
        return status

    def log(self) -> str:
        return (self.folder / "operator.log").read_text()


def operator_kubeconfig(kubeconfig: Path, folder: Path) -> Path:
    """Give the operator what the chart gives it, an account with its role and no more; return its kubeconfig."""
    wanted = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    found = [each for each in chart_objects() if each["kind"] in wanted]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
    kubectl(kubeconfig, "apply", "-f-", stdin=yaml.safe_dump_all([namespace, *found]))
    token = kubectl(kubeconfig, f"--namespace={SYSTEM}", "create", "token", OPERATOR_ACCOUNT).strip()
    document = yaml.safe_load(kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def operator_rules() -> set[tuple[str, str, str]]:
    """Verb, API group and resource of everything that the chart lets the operator do."""
    (role,) = [
        each for each in chart_objects() if each["kind"] == "ClusterRole" and "-operator" in each["metadata"]["name"]
    ]
    return {
        (verb, group, resource)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def await_crd(kubeconfig: Path) -> None:
    """Return once the API server serves Experiments; `kubectl wait` fails on a CRD whose status is still empty."""
    end = time.monotonic() + 30
    while True:
        try:
            kubectl(kubeconfig, "get", "experiments", "--all-namespaces")
        except ClusterError:
            assert time.monotonic() < end
            time.sleep(0.2)
        else:
            return


@contextmanager
def operating(kubeconfig: Path, endpoint: str, folder: Path, namespace: str = NAMESPACE) -> Iterator[Operating]:
    """Install CRD, namespace and Secret, start a node and an operator; end them after the block."""
    make_bucket(endpoint)
    kubectl(kubeconfig, "apply", "-f", str(ROOT / "charts/misstep/files/crd.yaml"))
    await_crd(kubeconfig)
    s3 = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET_NAME, "namespace": namespace},
            "stringData": s3,
        },
    ]
    kubectl(kubeconfig, "apply", "-f-", stdin=yaml.safe_dump_all(objects))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": f"{ROOT / 'services'}:{ROOT / 'operator'}:{ROOT}",
        "OMP_NUM_THREADS": "1",
        "MISSTEP_STAGE_ENV_SECRET": SECRET_NAME,
        "MISSTEP_RESYNC_SECONDS": "2",
        **{f"MISSTEP_IMAGE_{service}": f"misstep-{service.lower()}:test" for service in SERVICES},
        **s3,
    }
    node = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.process_node", str(kubeconfig), str(folder / "pods")],
        env=environment,
        cwd=ROOT,
        stdout=(folder / "node.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    world = Operating(kubeconfig, endpoint, folder, environment, operator_kubeconfig(kubeconfig, folder), namespace)
    try:
        yield world
    finally:
        world.stop_operators(signal.SIGKILL)
        kubectl(kubeconfig, "delete", "namespace", namespace, "--wait=false")
        node.kill()
        node.wait()
