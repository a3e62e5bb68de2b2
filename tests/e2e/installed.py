"""Misstep as it is installed: containers on a real kubelet, the chart's release, its own S3 server on a volume."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helm_python import Config

import misstep
from cluster import built
from cluster.images import write_image
from cluster.life import Cluster
from cluster.node import Node
from tests.chart.rendering import CHART
from tests.cluster.manifests import namespace
from tests.cluster.operating import await_crd
from tests.cluster.world import NAMESPACE, ROOT, World
from tests.store.servers import versitygw_binary
from tools import images

RELEASE = SYSTEM = "misstep"
S3_IMAGE = "localhost/versitygw:e2e"
SERVICES = ("operator", "verification", "problems", "evaluation", "training", "credit")
"""Images that are loaded. That of credit holds all that generation needs, and loading it twice would cost a minute."""
OVERCOMMIT = (Path(__file__).parent / "overcommit.yaml").read_text()
AUTHORITY = "/etc/misstep/ca"
"""Where stages find certificates."""
STORE, VOLUME = "s3://misstep/experiments", "misstep-e2e"


def image(service: str, tag: str = misstep.__version__) -> str:
    return f"localhost/misstep-{service}:{tag}"


@dataclass(kw_only=True)
class Installed(World):
    """A world whose operator is the release's own pod."""

    cluster: Cluster
    helm: Config
    values: dict[str, Any]

    def install(self) -> None:
        self.helm.install(CHART, RELEASE, self.values, namespace=SYSTEM, wait="watcher", timeout=180)
        await_crd(self.kubeconfig)
        self.environment |= _reach_store(self.cluster)  # each installation makes an address, the first one keys

    def upgrade(self, values: Mapping[str, Any]) -> None:
        self.helm.upgrade(CHART, RELEASE, {**self.values, **values}, namespace=SYSTEM, wait="watcher", timeout=180)

    def short(self, name: str, seed: int, **changes: Any) -> dict[str, Any]:
        """Seven stages: problems, the check of the model, SFT, its answers with verdicts and score, the report."""
        return self.experiment(name, seeds=[seed], arms=[{"name": "sft", "method": "sft"}], **changes)

    def log(self) -> str:
        return self.cluster.kubectl("logs", f"--namespace={SYSTEM}", "deployment/misstep-operator", "--tail=100")

    def in_node(self, *command: str) -> str:
        assert self.cluster.node is not None
        return self.cluster.node.run(command)


def load_images(cluster: Cluster) -> None:
    """Load what `make e2e-images` has built, and the S3 server, unless they are there.

    Skips where nothing is built, or of other sources than those of this checkout; in CI, which builds, that fails.
    """
    assert cluster.node is not None
    found = {name: inspect(name) for name in map(image, SERVICES)}
    if missing := [name for name, (digest, _) in found.items() if not digest]:
        pytest.skip(f"no image {missing[0]}: `make e2e-images` builds all")
    with tempfile.TemporaryDirectory(prefix="misstep-e2e-") as scratch:
        images.make_wheel(Path(scratch) / "wheel")
        wanted = images.source(Path(scratch) / "wheel")
    if other := [name for name, (_, made_of) in found.items() if made_of != wanted]:
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(f"{other[0]} was not built from this checkout as it is now: `make e2e-images` builds all again")
    there = _loaded(cluster.node)
    with tempfile.TemporaryDirectory(prefix="misstep-e2e-") as scratch:
        lacking = [name for name, (digest, _) in found.items() if digest != there.get(name)]
        for archive in built.export(lacking, Path(scratch)):
            cluster.node.load(archive)
        if S3_IMAGE not in there:
            root = Path(scratch) / "s3"
            root.mkdir()
            shutil.copy2(versitygw_binary(), root / "versitygw")
            write_image(Path(scratch) / "s3.tar", S3_IMAGE, root, entrypoint=["/versitygw"], user="65532")
            cluster.node.load(Path(scratch) / "s3.tar")


def inspect(name: str) -> tuple[str, str]:
    """Digest of the configuration of buildah's image, and of what it is made of; empty where there is none."""
    what = f'{{{{.FromImageID}}}} {{{{index .OCIv1.Config.Labels "{images.SOURCE_LABEL}"}}}}'
    asked = ["buildah", "inspect", "--type", "image", "--format", what, name]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "", ""
    if done.returncode != 0:
        return "", ""
    digest, _, made_of = done.stdout.strip().partition(" ")
    return f"sha256:{digest}", made_of


def _loaded(node: Node) -> dict[str, str]:
    """Name of each of the node's images -> digest of its configuration."""
    ctr = ["ctr", "--namespace", "k8s.io"]
    found = {}
    for line in node.run([*ctr, "images", "ls"]).splitlines()[1:]:
        name, _, manifest, *_ = line.split()
        if name.startswith("localhost/"):
            found[name] = json.loads(node.run([*ctr, "content", "get", manifest]))["config"]["digest"]
    return found


def values() -> dict[str, Any]:
    """Of the release: images that the node has, S3 server with a volume, stages with an account and a volume of their
    own."""
    each = {service: {"repository": f"misstep-{service}"} for service in SERVICES}
    each["generation"] = each["credit"]
    repository, _, tag = S3_IMAGE.partition(":")
    return {
        "image": {"registry": "localhost"},
        "images": each,
        "operator": {"resyncSeconds": 5},
        "stages": {
            "serviceAccount": {"create": True, "namespaces": [NAMESPACE]},
            # A ConfigMap that every namespace has.
            "defaults": {"volumes": [{"mountPath": AUTHORITY, "configMap": "kube-root-ca.crt"}]},
        },
        "devS3": {
            "enabled": True,
            "namespaces": [NAMESPACE],
            "image": {"repository": repository, "tag": tag},
            "persistence": {"enabled": True, "storageClass": VOLUME, "size": "1Gi"},
        },
    }


@contextmanager
def installed(cluster: Cluster, folder: Path) -> Iterator[Installed]:
    """Load images and install the release, in namespaces that enforce the restricted standard; remove all after."""
    load_images(cluster)
    for name in (SYSTEM, NAMESPACE):
        cluster.kubectl("create", "-f-", stdin=namespace(name))
    cluster.kubectl("apply", "-f-", stdin=OVERCOMMIT)
    _make_volume(cluster)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = f"{ROOT / 'services'}:{ROOT / 'operator'}"
    with Config(kubeconfig_path=cluster.kubeconfig, namespace=SYSTEM) as helm:
        storage = {"uri": STORE, "pathStyle": True}
        world = Installed(
            kubeconfig=cluster.kubeconfig,
            storage=storage,
            folder=folder,
            environment=environment,
            cluster=cluster,
            helm=helm,
            values=values(),
        )
        try:
            world.install()
            yield world
        finally:
            helm.uninstall(RELEASE, ignore_not_found=True)
            cluster.kubectl("delete", "namespace", SYSTEM, NAMESPACE, "--timeout=120s")
            cluster.kubectl("delete", "crd", "experiments.misstep.dev", "--ignore-not-found")
            cluster.kubectl("delete", "persistentvolume", VOLUME)
            cluster.kubectl("delete", "-f-", stdin=OVERCOMMIT)


def _make_volume(cluster: Cluster) -> None:
    """A disk of the node for the S3 server, as a storage class of a real cluster would give."""
    assert cluster.node is not None
    path = "/var/lib/misstep-e2e"
    cluster.node.run(["rm", "-rf", path])
    cluster.node.run(["mkdir", "--mode=0777", path])
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": VOLUME},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": VOLUME,
            "hostPath": {"path": path},
        },
    }
    cluster.kubectl("create", "-f-", stdin=json.dumps(volume))


def _reach_store(cluster: Cluster) -> dict[str, str]:
    """Credentials and address of the release's S3 server, for this machine, which reaches Services."""
    found = json.loads(cluster.kubectl("get", "secret", "misstep-dev-s3", f"--namespace={SYSTEM}", "-ojson"))["data"]
    keys = {name: base64.b64decode(value).decode() for name, value in found.items()}
    service = json.loads(cluster.kubectl("get", "service", "misstep-dev-s3", f"--namespace={SYSTEM}", "-ojson"))["spec"]
    return {**keys, "AWS_ENDPOINT_URL": f"http://{service['clusterIP']}:7070", "AWS_EC2_METADATA_DISABLED": "true"}
