"""The full cluster: pods are real containers with names, logs and a way to this machine; its end leaves nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import cgroups, images, life, processes
from cluster.life import Cluster
from cluster.places import ClusterError
from misstep_operator.jobs.pod import as_argument
from tests.cluster.manifests import indexed_job, namespace, pod

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

FOLDERS = (
    *("/run/netns", "/run/containerd", "/run/xtables.lock", "/var/lib/cni", "/var/lib/containerd", "/var/lib/kubelet"),
    *("/var/log/pods", "/var/log/containers", "/etc/cni", "/proc/sys"),
)
"""Where the node's programs write or mount by default."""


@pytest.fixture(scope="module")
def strict(node: Cluster) -> Iterator[str]:
    node.kubectl("create", "-f-", stdin=namespace("strict"))
    yield "--namespace=strict"
    node.kubectl("delete", "namespace", "strict", "--timeout=60s")


def test_an_indexed_job_of_three_pods_completes(node: Cluster, strict: str) -> None:
    node.kubectl("create", strict, "-f-", stdin=indexed_job("three", "echo shard $JOB_COMPLETION_INDEX; id -u", 3))
    node.kubectl("wait", strict, "job/three", "--for=condition=Complete", "--timeout=90s")
    logs = node.kubectl("logs", strict, "--selector=job-name=three")
    assert sorted(logs.split("\n")) == sorted(["", *(f"shard {i}" for i in range(3)), *["65534"] * 3])


def test_an_argument_with_dollars_arrives_as_it_is(node: Cluster, strict: str) -> None:
    text = "a $$ and $(HOME), ${HOME} and $HOME"
    body = json.loads(pod("dollars", ""))
    body["spec"]["containers"][0].update({"command": ["echo"], "args": [as_argument(text)]})
    node.kubectl("create", strict, "-f-", stdin=json.dumps(body))
    node.kubectl("wait", strict, "pod/dollars", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert node.kubectl("logs", strict, "dollars") == f"{text}\n"


def test_pods_find_services_by_name_and_reach_this_machine(node: Cluster, strict: str) -> None:
    class Greet(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"hello from the machine\n")

    assert node.node is not None
    host = node.node.network.host
    with socketserver.TCPServer((host, 0), Greet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        name = "kubernetes.default.svc.cluster.local"
        script = f"nslookup {name} && nc -w 5 {name} 443 </dev/null && nc {host} {server.server_address[1]} </dev/null"
        node.kubectl("create", strict, "-f-", stdin=pod("curious", script))
        node.kubectl("wait", strict, "pod/curious", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        server.shutdown()
    logs = node.kubectl("logs", strict, "curious")
    assert node.node.network.services.rpartition(".")[0] + ".1" in logs
    assert "hello from the machine" in logs


def test_this_machine_reaches_a_service(node: Cluster, strict: str) -> None:
    """As the API server must, whose webhooks are Services."""
    body = json.loads(pod("greeter", "exec nc -ll -p 8080 -e echo hello from a pod"))
    body["metadata"]["labels"] = {"app": "greeter"}
    node.kubectl("create", strict, "-f-", stdin=json.dumps(body))
    node.kubectl("expose", strict, "pod/greeter", "--port=80", "--target-port=8080")
    node.kubectl("wait", strict, "pod/greeter", "--for=condition=Ready", "--timeout=60s")
    address = node.kubectl("get", strict, "service/greeter", "-ojsonpath={.spec.clusterIP}")
    greeting, deadline = "", time.monotonic() + 30
    while not greeting and time.monotonic() < deadline:  # kube-proxy hears of the pod a moment later
        with contextlib.suppress(OSError), socket.create_connection((address, 80), timeout=2) as connection:
            greeting = connection.makefile().read()
    assert greeting == "hello from a pod\n"


def test_an_image_made_from_a_folder_runs(node: Cluster, strict: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    images.busybox_images(tmp_path)
    (tmp_path / "busybox/etc/made-here").write_text("yes\n")
    for attempt in ("one", "two"):
        images.write_image(tmp_path / attempt, "localhost/made:1", tmp_path / "busybox", entrypoint=["cat"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert node.node is not None
    node.node.load(tmp_path / "one")
    images.write_image(tmp_path / "nameless", "", tmp_path / "busybox")
    with pytest.raises(ClusterError, match="names no image"):
        node.node.load(tmp_path / "nameless")
    body = json.loads(pod("made", ""))
    container = body["spec"]["containers"][0]
    container.update({"image": "localhost/made:1", "command": None, "args": ["/etc/made-here"]})
    node.kubectl("create", strict, "-f-", stdin=json.dumps(body))
    node.kubectl("wait", strict, "pod/made", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert node.kubectl("logs", strict, "made") == "yes\n"


def test_a_container_over_its_memory_is_killed(node: Cluster, strict: str) -> None:
    hungry = "exec sh -c 'a=x; while true; do a=$a$a; done'"  # one process: a shell would survive the end of its child
    node.kubectl("create", strict, "-f-", stdin=pod("hungry", hungry))
    node.kubectl("wait", strict, "pod/hungry", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
    state = json.loads(node.kubectl("get", strict, "pod/hungry", "-ojson"))["status"]["containerStatuses"][0]["state"]
    assert (state["terminated"]["reason"], state["terminated"]["exitCode"]) == ("OOMKilled", 137)


def test_its_end_leaves_nothing(node: Cluster, tmp_path: Path) -> None:
    """``node`` is asked for its checks of the machine; and so this is also about two nodes side by side."""
    before = _of_machine()
    second = life.up(tmp_path / "state", with_node=True, follow=True)
    try:
        assert second.node is not None
        network = second.node.network
        second.kubectl("create", "-f-", stdin=pod("sleeper", "sleep 600"))
        second.kubectl("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=60s")
        inside = psutil.Process(second.node.process).children(recursive=True)
        assert {"containerd", "kubelet", "kube-proxy", "coredns", "busybox"} <= {Path(one.exe()).name for one in inside}
        assert len([group for group in cgroups.hierarchies() if any((group / network.name).rglob("pod*"))]) > 1
        assert _of_machine() == before  # all of that is the node's own
    finally:
        life.down(tmp_path / "state")

    assert not any(map(processes.lives, inside))
    assert _of_machine() == before
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert not list(Path("/sys/class/net").glob(f"{network.name}*"))
    assert not any((group / network.name).exists() for group in cgroups.hierarchies())
    assert not any(
        str(tmp_path) in " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    )
    assert not list(tmp_path.iterdir())
    with pytest.raises(ClusterError, match="no cluster runs"):
        life.find(tmp_path / "state")


def _of_machine() -> tuple[list[str], ...]:
    """What a node could leave on this machine: mounts, links, routes, folders of its programs.

    Only the kinds that a node makes, and no other node's: this machine may be at work on other things just now.
    """
    folders = [str(path) for path in map(Path, FOLDERS) if path.exists()]
    mounts = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4].startswith(FOLDERS)
    ]
    links = sorted(path.name for path in Path("/sys/class/net").iterdir() if not path.name.startswith("misstep"))
    routes = [line for line in Path("/proc/net/route").read_text().splitlines() if not line.startswith("misstep")]
    return folders, mounts, links, routes
