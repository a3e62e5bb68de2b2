"""The node: containerd, kubelet, kube-proxy and CoreDNS in their own namespaces, with pods as real containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import IO

from cluster import cgroups, network
from cluster.access import NODE, Access
from cluster.images import busybox_images
from cluster.inner import SOCKET, Orders
from cluster.network import Network
from cluster.places import BINARIES, CONFIGURATION, ClusterError
from cluster.processes import Processes

SYSTEM = ("containerd", "runc", "bridge", "iptables", "busybox", "ip", "nsenter")
"""Programs that cluster/system-packages.sh installs."""
HIDDEN = (Path("/run"), Path("/var/lib"), Path("/var/log"))
"""Folders of the machine that the node does not see."""


@dataclass(frozen=True)
class Node:
    """A running node.

    Args:
        process: id of its first process, used to enter its namespaces.
        network: its addresses; pods reach this machine at ``network.host``.
    """

    process: int
    network: Network

    def run(self, command: Sequence[str], stdin: IO[bytes] | None = None) -> str:
        """Run a command inside the node and return its standard output; a ClusterError holds what it complained of."""
        enter = ["nsenter", f"--target={self.process}", "--mount", "--net", "--pid"]
        done = subprocess.run([*enter, *command], check=False, stdin=stdin or subprocess.DEVNULL, capture_output=True)
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode()

    def load(self, images: Path) -> None:
        """Load images from an OCI archive or the folder of an OCI layout.

        Pods name them with ``imagePullPolicy: Never`` or ``IfNotPresent``.
        """
        command = ["ctr", "--namespace", "k8s.io", "images", "import", "-"]
        if images.is_dir():
            pack = ["tar", "--create", "--directory", str(images), "."]
            with subprocess.Popen(pack, stdout=subprocess.PIPE) as tar:
                loaded = self.run(command, tar.stdout)
        else:
            with images.open("rb") as content:
                loaded = self.run(command, content)
        if not loaded:  # ctr accepts an image without a name, which no pod can then use
            raise ClusterError(f"{images} names no image: write it by `buildah push IMAGE oci-archive:FILE:NAME`")


def check_machine(state: Path) -> None:
    """Raise a ClusterError if no node can run here."""
    if os.geteuid() != 0:
        raise ClusterError("a node needs root; a control plane alone does not: `make control-plane`")
    missing = [name for name in SYSTEM if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/lib/cni") is None]
    if missing:
        raise ClusterError(f"{', '.join(missing)} not installed: run cluster/system-packages.sh")
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    if subprocess.run(namespaces, check=False, capture_output=True).returncode != 0:
        raise ClusterError("root may not make namespaces here, as in a container without privileges")
    for path in (state.resolve(), BINARIES.resolve(), CONFIGURATION, Path(sys.executable).resolve()):
        if any(path.is_relative_to(hidden) for hidden in HIDDEN):
            raise ClusterError(f"{path} is under a folder that the node does not see: move the project elsewhere")


def start(processes: Processes, folder: Path, claimed: Network, access: Access) -> Node:
    """Start the node in ``folder`` and return it once its images are loaded and it is ready for pods."""
    cgroups.make(claimed.name)
    orders: Orders = {
        "folder": str(folder),
        "link": claimed.peer,
        "address": claimed.node,
        "gateway": claimed.host,
        "dns": claimed.dns,
        "programs": _programs(_write_configuration(folder, claimed, access), claimed, access),
    }
    (folder / "orders.json").write_text(json.dumps(orders, indent=1))
    namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    inner = [sys.executable, "-m", "cluster.inner", str(folder / "orders.json")]
    outer = processes.start("node", ["unshare", *namespaces, *inner])
    processes.wait_for("the node's first process", lambda: len(outer.children()) > 0)
    node = Node(outer.children()[0].pid, claimed)
    network.connect(claimed, node.process)
    processes.wait_for("containerd", lambda: Path(f"/proc/{node.process}/root{SOCKET}").exists())
    for archive in busybox_images(folder / "images"):
        node.load(archive)
    processes.wait_for("the kubelet", lambda: _is_ready(access))
    processes.wait_for("kube-proxy", lambda: _answers(f"http://{claimed.node}:10256/healthz"))
    processes.wait_for("CoreDNS", lambda: _answers(f"http://{claimed.dns}:8181/ready"))
    return node


def remove(folder: Path) -> None:
    """Remove the network and the cgroup of the node in ``folder``, whose processes have ended."""
    if (folder / network.NUMBER).exists():
        claimed = Network.of(folder)
        if network.owned(claimed, folder):
            network.remove(claimed)
            cgroups.remove(claimed.name)


def _write_configuration(folder: Path, claimed: Network, access: Access) -> Path:
    configuration = folder / "configuration"
    configuration.mkdir()
    values = {
        "name": claimed.name,
        "node": claimed.node,
        "dns": claimed.dns,
        "pods": claimed.pods,
        "config": configuration,
        "kubeconfig": access.kubeconfig("admin"),
    }
    for template in (CONFIGURATION / "node").iterdir():
        (configuration / template.name).write_text(Template(template.read_text()).substitute(values))
    return configuration


def _programs(configuration: Path, claimed: Network, access: Access) -> dict[str, list[str]]:
    kubelet = [
        f"--config={configuration / 'kubelet.yaml'}",
        f"--kubeconfig={access.kubeconfig(f'system:node:{NODE}')}",
        f"--hostname-override={NODE}",
        f"--node-ip={claimed.node}",
        "--root-dir=/var/lib/kubelet",
        "--cert-dir=/var/lib/kubelet/pki",
    ]
    proxy = [
        f"--kubeconfig={access.kubeconfig('system:kube-proxy')}",
        f"--hostname-override={NODE}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={claimed.pods}",
        f"--healthz-bind-address={claimed.node}:10256",
        "--metrics-bind-address=127.0.0.1:10249",
        # The kernel's table of connections belongs to the whole machine: leave it as it is.
        "--conntrack-max-per-core=0",
        "--conntrack-min=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]
    return {
        "containerd": ["containerd", f"--config={configuration / 'containerd.toml'}"],
        "kubelet": [str(BINARIES / "kubelet"), *kubelet],
        "kube-proxy": [str(BINARIES / "kube-proxy"), *proxy],
        "coredns": [str(BINARIES / "coredns"), "-conf", str(configuration / "Corefile")],
    }


def _is_ready(access: Access) -> bool:
    node = access.get(f"/api/v1/nodes/{NODE}") or {}
    conditions = node.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
