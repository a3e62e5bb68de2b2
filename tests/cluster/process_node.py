"""A node of processes: it registers with a real API server and runs the pods that are bound to it as processes here.

    python -m tests.cluster.process_node KUBECONFIG FOLDER [--fresh]

The scheduler, the Job controller and the garbage collector are real; only containers are not. A container's command is
``misstep`` of this checkout whatever its image, and volumes are folders: the operator's behaviour needs no more, and
images of torch are gigabytes. Image pulls can be made to fail: an image with ``missing`` in its name is not there.
A pod's clock can be wrong, by Debian's libfaketime: its annotation ``misstep.test/clock`` says by how much.

FOLDER holds a folder for each pod, by its uid: ``log``, as JSON; ``pod.json``, the pod as it was when it started; and
``pid``, of its process. A pod with a file ``unreachable`` there is out of reach, as on a node that is gone: it runs on,
nobody ends it, and nobody says how it ended.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from misstep.processes import free_port
from tests.cluster.api import Api, Away, Refused, leases, pods
from tests.cluster.manifests import discovered_labels
from tests.cluster.pod_processes import PodProcess, PodProcesses, end, fresh

T = TypeVar("T")
NAME = "processes"
CLOCK = "misstep.test/clock"
"""Annotation of a pod: what ``faketime`` adds to its clock, such as ``+3h``; with ``once``, only in a Job's first
pod."""
UNREACHABLE = "unreachable"
ROOT = Path(__file__).parents[2]


def clock(pod: dict[str, Any]) -> str:
    """Return how far a pod's clock is wrong, as ``faketime`` takes it; nothing where it is right."""
    marks = pod["metadata"].get("annotations") or {}
    offset, _, once = marks.get(CLOCK, "").partition(" ")
    return "" if once and marks.get("batch.kubernetes.io/job-index-failure-count", "0") != "0" else offset


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def expand(argument: str, environment: Mapping[str, str]) -> str:
    """Do what a kubelet does with a container's argument: put variables in for ``$(NAME)``, and ``$`` for ``$$``."""
    found = {"$$": "$", **{f"$({name})": value for name, value in environment.items()}}
    return re.sub(r"\$\$|\$\([^)]*\)", lambda match: found.get(match[0], match[0]), argument)


class ProcessNode:
    """Runs pods; one thread each."""

    def __init__(self, api: Api, folder: Path, *, fork: bool = True) -> None:
        self.api, self.folder = api, folder
        self.targets = folder / "targets"
        """Where pods answer a Prometheus, in files that it can discover them by."""
        self.processes: dict[str, PodProcess] = {}
        folder.mkdir(parents=True)
        self.start = PodProcesses(folder.parent / "forks.log").start if fork else fresh
        self.meetings: dict[str, str] = {}
        """Job -> port at which the pods of its training meet, since here all have one address."""
        self.seen: set[str] = set()
        self.ending: set[str] = set()

    def register(self) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}}
        try:
            self.api.call("POST", "/api/v1/nodes", node)
        except Refused as error:
            if error.reason != "AlreadyExists":
                raise
        room = {"cpu": "8", "memory": "64Gi", "pods": "200", "ephemeral-storage": "50Gi"}
        ready = {"type": "Ready", "status": "True", "reason": "Processes", "lastHeartbeatTime": now()}
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        self.api.call("PATCH", f"/api/v1/nodes/{NAME}/status", {"status": status})

    def renew(self) -> None:
        while True:
            spec = {"holderIdentity": NAME, "leaseDurationSeconds": 40}
            spec["renewTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            lease = {"metadata": {"name": NAME, "namespace": "kube-node-lease"}, "spec": spec}
            try:
                self.api.call("PATCH", f"{leases('kube-node-lease')}/{NAME}", lease)
            except (Refused, Away):
                try:
                    self.api.call("POST", leases("kube-node-lease"), lease)
                except (Refused, Away) as error:
                    print("lease", error, flush=True)
            time.sleep(8)

    def serve(self) -> None:
        self.register()
        threading.Thread(target=self.renew, daemon=True).start()
        print("registered", flush=True)
        while True:
            try:
                for pod in self.api.items("/api/v1/pods", fieldSelector=f"spec.nodeName={NAME}"):
                    self.handle(pod)
            except Exception as error:  # noqa: BLE001 - the API server may be away for a while
                print("list", error, flush=True)
            time.sleep(0.2)

    def handle(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if (self.folder / uid / UNREACHABLE).exists():
            return
        if pod["metadata"].get("deletionTimestamp"):
            if uid not in self.ending:
                self.ending.add(uid)
                threading.Thread(target=self.end, args=(pod,), daemon=True).start()
        elif uid not in self.seen:
            self.seen.add(uid)
            threading.Thread(target=self.run, args=(pod,), daemon=True).start()

    def end(self, pod: dict[str, Any]) -> None:
        process = self.processes.get(pod["metadata"]["uid"])
        if process is not None and not process.wait(0):
            end(process, pod["metadata"].get("deletionGracePeriodSeconds") or 30)
            time.sleep(0.5)  # its status is written first
        with suppress(Refused):
            until_answered(lambda: self.api.call("DELETE", path_of(pod), {"gracePeriodSeconds": 0}))

    def run(self, pod: dict[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        uid, started = pod["metadata"]["uid"], now()
        state = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "restartCount": 0,
            "ready": False,
        }
        if "missing" in container["image"]:
            waiting = {"reason": "ImagePullBackOff", "message": f"no image {container['image']}"}
            self.status(pod, "Pending", started, {**state, "state": {"waiting": waiting}})
            return
        own = self.folder / uid
        own.mkdir(parents=True)
        (own / "pod.half").write_text(json.dumps(pod))
        (own / "pod.half").rename(own / "pod.json")  # whole for whoever looks
        environment = self.environment(pod, container, own)
        process = self.processes[uid] = self.start(
            [expand(argument, environment) for argument in container["args"]], environment, own, clock(pod)
        )
        running = {"state": {"running": {"startedAt": started}}, "ready": True, "started": True}
        self.status(pod, "Running", started, {**state, **running})
        process.wait_begun()
        (own / "pid").write_text(str(process.pid))
        process.wait()
        (self.targets / f"{uid}.json").unlink(missing_ok=True)
        while (own / UNREACHABLE).exists():
            time.sleep(0.2)
        code = process.code or 0
        code = 128 - code if code < 0 else code
        said = (own / "termination-log").read_text() if (own / "termination-log").exists() else ""
        ended = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "startedAt": started,
            "finishedAt": now(),
            "message": said[:4096],
        }
        self.status(pod, "Failed" if code else "Succeeded", started, {**state, "state": {"terminated": ended}})

    def environment(self, pod: dict[str, Any], container: dict[str, Any], own: Path) -> dict[str, str]:
        namespace = pod["metadata"]["namespace"]
        index = pod["metadata"]["labels"].get("batch.kubernetes.io/job-completion-index", "0")
        found = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "services"),
            "OMP_NUM_THREADS": "1",
            "MISSTEP_LOG_FORMAT": "json",
            "JOB_COMPLETION_INDEX": index,
        }
        for source in container.get("envFrom") or ():
            found |= self.secret(namespace, source["secretRef"]["name"])
        for each in container.get("env") or ():
            source = each.get("valueFrom") or {}
            if "secretKeyRef" in source:
                reference = source["secretKeyRef"]
                found[each["name"]] = self.secret(namespace, reference["name"])[reference["key"]]
            elif not source:  # a field of the pod: the Job's index, which stands there already
                found[each["name"]] = each.get("value", "")
        if "MISSTEP_MASTER_ADDR" in found:
            job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
            port = self.meetings.setdefault(job, str(free_port()))
            found |= {"MISSTEP_MASTER_ADDR": "127.0.0.1", "MISSTEP_MASTER_PORT": port}
        if found.get("MISSTEP_METRICS_PORT"):
            found["MISSTEP_METRICS_PORT"] = str(self.offer(pod))
        folders = {name: str(own / name.lower()) for name in ("HOME", "MISSTEP_SCRATCH", "MISSTEP_CACHE")}
        for folder in folders.values():
            Path(folder).mkdir()
        return found | folders | {"MISSTEP_TERMINATION_LOG": str(own / "termination-log")}

    def offer(self, pod: dict[str, Any]) -> int:
        """Return a port for a pod's metrics, for all share one address here, and tell a Prometheus of it."""
        port, metadata = free_port(), pod["metadata"]
        self.targets.mkdir(exist_ok=True)
        half = self.targets / f"{metadata['uid']}.half"
        half.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}"], "labels": discovered_labels(metadata)}]))
        half.rename(half.with_suffix(".json"))
        return port

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        found = until_answered(lambda: self.api.call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}"))
        return {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}

    def status(self, pod: dict[str, Any], phase: str, started: str, container: dict[str, Any]) -> None:
        body = {"status": {"phase": phase, "startTime": started, "containerStatuses": [container]}}
        try:
            until_answered(lambda: self.api.call("PATCH", f"{path_of(pod)}/status", body))
        except Refused as error:
            print("status", pod["metadata"]["name"], error, flush=True)


def path_of(pod: dict[str, Any]) -> str:
    return f"{pods(pod['metadata']['namespace'])}/{pod['metadata']['name']}"


def until_answered(ask: Callable[[], T]) -> T:
    """Ask the API server again while it is away, as a kubelet does; raises Refused where it refuses."""
    while True:
        try:
            return ask()
        except Away:
            time.sleep(0.5)
        except Refused as error:
            if error.code < 429:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    ProcessNode(Api(sys.argv[1]), Path(sys.argv[2]), fork="--fresh" not in sys.argv).serve()
