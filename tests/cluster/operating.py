"""An operator at work on a real API server, with a node of processes and a real S3 server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from cluster.life import kubectl
from cluster.places import ClusterError
from misstep.plan.kinds import IMAGES
from misstep.processes import free_port
from tests.chart.rendering import objects as chart_objects
from tests.cluster.world import NAMESPACE, ROOT, World
from tests.store.servers import ACCESS, BUCKET, SECRET, make_bucket

SYSTEM, OPERATOR_ACCOUNT = "system", "misstep-operator"
LEASE = f"{SYSTEM}/misstep-operator"
"""The Lease of the chart's operators; operators of tests use none by default."""
SECRET_NAME = "misstep-s3"
SERVICES = tuple(name.upper() for name in IMAGES)


@dataclass(kw_only=True)
class Operating(World):
    """A world whose operators are processes of this machine, and its pods too."""

    endpoint: str
    operator_kubeconfig: Path
    operators: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ports: dict[int, int] = field(default_factory=dict)
    """Process id of an operator -> where it serves its health and metrics."""

    def start_operator(self, server: str = "", stores: Iterable[str] = (), **settings: str) -> subprocess.Popen[bytes]:
        """Start an operator.

        Args:
            server: URL of a proxy through which it reaches the API server.
            stores: endpoints, besides the world's own, of S3 servers that it may read.
            settings: more of its environment.
        """
        port = free_port()
        more = {"KUBECONFIG": str(self._reaching(server)), "MISSTEP_METRICS_PORT": str(port)}
        how = {"uri": f"s3://{BUCKET}", "region": "us-east-1", "pathStyle": True, "namespaces": ["*"]}
        more["MISSTEP_STORES"] = json.dumps([how | {"endpoint": each} for each in (self.endpoint, *stores)])
        more |= {"MISSTEP_OPERATOR_IDENTITY": f"operator-{port}", **settings}
        with (self.folder / "operator.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "misstep_operator", "run"], env=self.environment | more, stdout=log, stderr=log
            )
        self.operators.append(process)
        self.ports[process.pid] = port
        return process

    def healthy(self, pid: int) -> bool:
        """Ask an operator as the kubelet does; not so while it does not listen yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[pid]}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            assert error.code == 503
            return False
        except urllib.error.URLError:
            return False

    def metrics(self, pid: int) -> str:
        """What an operator tells Prometheus; nothing where it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[pid]}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def leaders(self) -> list[subprocess.Popen[bytes]]:
        """Those operators that say that they work."""
        return [each for each in self.operators if "\nmisstep_operator_leader 1.0" in self.metrics(each.pid)]

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

    def log(self) -> str:
        return (self.folder / "operator.log").read_text()


def operator_kubeconfig(kubeconfig: Path, folder: Path) -> Path:
    """Give the operator what the chart gives it, an account with its role and no more; return its kubeconfig."""
    wanted = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
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
    roles = [each for each in chart_objects() if "-operator" in each["metadata"]["name"]]
    return {
        (verb, group, resource)
        for role in roles
        for rule in role.get("rules") or ()
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
def operating(
    kubeconfig: Path, endpoint: str, folder: Path, namespace: str = NAMESPACE, *, fork: bool = True
) -> Iterator[Operating]:
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
        "MISSTEP_IMAGE_TRACKING": "misstep-tracking:test",
        **{f"MISSTEP_IMAGE_{service}": f"misstep-{service.lower()}:test" for service in SERVICES},
        **s3,
    }
    more = [] if fork else ["--fresh"]
    node = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.process_node", str(kubeconfig), str(folder / "pods"), *more],
        env=environment,
        cwd=ROOT,
        stdout=(folder / "node.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    world = Operating(
        kubeconfig=kubeconfig,
        storage={"uri": f"s3://{BUCKET}/runs", "endpoint": endpoint, "pathStyle": True, "region": "us-east-1"},
        folder=folder,
        environment=environment,
        namespace=namespace,
        endpoint=endpoint,
        operator_kubeconfig=operator_kubeconfig(kubeconfig, folder),
    )
    try:
        yield world
    finally:
        world.stop_operators(signal.SIGKILL)
        # Its pods end only while there is a node, and who uses the name next can make nothing before it is gone.
        kubectl(kubeconfig, "delete", "namespace", namespace, "--timeout=120s")
        node.kill()
        node.wait()
