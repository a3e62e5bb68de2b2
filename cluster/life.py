"""Start, find and end a cluster, which has its own folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import control_plane, node, processes
from cluster.network import Network, claim
from cluster.node import Node
from cluster.places import KUBECTL, ClusterError, missing_binaries

CONTROL_PLANE = ("kubemulti", "kubectl")
NODE = ("kubelet", "kube-proxy", "coredns")


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Args:
        state: its folder; logs of its programs are in ``logs/``.
        kubeconfig: kubeconfig file of its admin.
        node: its node, if it has one.
    """

    state: Path
    kubeconfig: Path
    node: Node | None

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as admin and return its standard output; a ClusterError holds what it complained of."""
        return kubectl(self.kubeconfig, *arguments, stdin=stdin)


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl and return its standard output; a ClusterError holds what it complained of."""
    cache = f"--cache-dir={kubeconfig.parent / 'kubectl'}"  # removed with the cluster, unlike $HOME/.kube
    command = [str(KUBECTL), f"--kubeconfig={kubeconfig}", cache, *arguments]
    done = subprocess.run(command, check=False, input=stdin or "", capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def up(state: Path, *, with_node: bool, audit_log: Path | None = None, follow: bool = False) -> Cluster:
    """Start a cluster and return once it works; if that fails, everything except the logs is removed again.

    Args:
        state: folder of the cluster, created here.
        with_node: whether to start a node too; needs root and the packages of cluster/system-packages.sh.
        audit_log: file to which the API server writes all requests.
        follow: whether the cluster ends with this process, in any case.
    """
    state = state.absolute()
    if missing := missing_binaries(*CONTROL_PLANE, *(NODE if with_node else ())):
        raise ClusterError(missing)
    if with_node:
        node.check_machine(state)
    if processes.running(state):
        raise ClusterError(f"a cluster runs in {state} already: end it with `make cluster-down`")
    down(state)  # remove leftovers of a killed cluster
    try:
        return _start(state, with_node, audit_log, follow)
    except BaseException:
        down(state, keep_logs=True)
        raise


def find(state: Path) -> Cluster:
    """Return the cluster that runs in ``state``."""
    state = state.absolute()
    programs = dict(processes.running(state))
    if not programs:
        raise ClusterError(f"no cluster runs in {state}")
    outer = programs.get("node")
    inside = Node(outer.children()[0].pid, Network.of(state / "node")) if outer else None
    return Cluster(state, state / "access/admin.kubeconfig", inside)


@contextmanager
def without(state: Path, name: str, *, follow: bool = False) -> Iterator[None]:
    """Kill one program of a cluster, such as ``kube-apiserver``; start it again after the block.

    Args:
        state: folder of the cluster.
        name: name of the program.
        follow: whether the program ends with this process.
    """
    command = processes.kill(state, name)
    try:
        yield
    finally:
        processes.Processes(state, follow=follow).start(name, command)


def down(state: Path, *, keep_logs: bool = False) -> None:
    """End the cluster in ``state``, if there is one: processes, containers, mounts, links, cgroups and the folder."""
    processes.end(state)
    node.remove(state / "node")
    for part in ("access", "etcd", "node") if keep_logs else ("access", "etcd", "node", "logs"):
        if (state / part).exists():
            shutil.rmtree(state / part)
    if state.exists() and not any(state.iterdir()):
        state.rmdir()


def _start(state: Path, with_node: bool, audit_log: Path | None, follow: bool) -> Cluster:
    started = processes.Processes(state, follow=follow)
    # Without a node only this machine connects to the API server, and no Service has a working address.
    host, services, network = control_plane.LOOPBACK, "198.18.100.0/24", None
    if with_node:
        (state / "node").mkdir(parents=True)
        network = claim(state / "node")
        host, services = network.host, network.services
    access = control_plane.start(started, host, services, audit_log and audit_log.absolute())
    inside = node.start(started, state / "node", network, access) if network else None
    return Cluster(state, access.kubeconfig("admin"), inside)
