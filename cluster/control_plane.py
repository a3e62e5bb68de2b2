"""The control plane: etcd, API server, controller manager and scheduler, as four processes of any user."""

from __future__ import annotations

import socket
from pathlib import Path

from cluster.access import Access, new_access
from cluster.places import CONFIGURATION, KUBEMULTI
from cluster.processes import Processes

LOOPBACK = "127.0.0.1"


def start(processes: Processes, host: str, services: str, audit_log: Path | None) -> Access:
    """Start the control plane and return once it works.

    Args:
        processes: the cluster that it belongs to.
        host: address of this machine on which the API server listens.
        services: range of addresses of Services.
        audit_log: file to which the API server writes every request, if any.
    """
    client, peer, secure = free_ports(3)
    access = new_access(processes.state / "access", f"https://{host}:{secure}")
    _start_etcd(processes, f"http://{LOOPBACK}:{client}", f"http://{LOOPBACK}:{peer}")
    _start_api_server(processes, access, f"http://{LOOPBACK}:{client}", host, secure, services, audit_log)
    processes.wait_for("the API server", lambda: access.get("/readyz") == "ok", 120)
    _start_controllers(processes, access)
    _start_scheduler(processes, access)
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    processes.wait_for("the first service account", lambda: access.get(account) is not None)
    return access


def free_ports(count: int) -> list[int]:
    """Return different ports on which nothing listens at the moment."""
    probes = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _start_etcd(processes: Processes, client: str, peer: str) -> None:
    options = [
        f"--data-dir={processes.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync=true",  # the cluster need not survive a crash of its machine
        "--log-level=warn",
    ]
    processes.start("etcd", [KUBEMULTI, "etcd", *options])


def _start_api_server(
    processes: Processes, access: Access, etcd: str, host: str, port: int, services: str, audit_log: Path | None
) -> None:
    options = [
        f"--etcd-servers={etcd}",
        f"--bind-address={host}",
        f"--advertise-address={host}",
        f"--secure-port={port}",
        f"--cert-dir={access.folder}",
        f"--token-auth-file={access.tokens_file}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={access.account_public_key}",
        f"--service-account-signing-key-file={access.account_key}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={services}",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",  # nothing resolves the node's name
    ]
    if host == LOOPBACK:
        options.append("--endpoint-reconciler-type=none")  # a loopback address cannot be an endpoint
    if audit_log:
        policy = CONFIGURATION / "audit-policy.yaml"
        # Blocking, so that a request is in the log before its answer is sent.
        options += [f"--audit-policy-file={policy}", f"--audit-log-path={audit_log}", "--audit-log-mode=blocking"]
    processes.start("kube-apiserver", [KUBEMULTI, "kube-apiserver", *options])


def _start_controllers(processes: Processes, access: Access) -> None:
    options = [
        f"--kubeconfig={access.kubeconfig('system:kube-controller-manager')}",
        "--leader-elect=false",
        "--secure-port=0",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={access.account_key}",
        f"--root-ca-file={access.certificate}",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]
    processes.start("kube-controller-manager", [KUBEMULTI, "kube-controller-manager", *options])


def _start_scheduler(processes: Processes, access: Access) -> None:
    options = [
        f"--kubeconfig={access.kubeconfig('system:kube-scheduler')}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]
    processes.start("kube-scheduler", [KUBEMULTI, "kube-scheduler", *options])
