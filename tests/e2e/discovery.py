"""How a Prometheus finds the release's pods: Debian's is built without discovery by Kubernetes, so that its files of
targets are written here, with the labels that discovery would give."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.manifests import discovered_labels
from tests.cluster.scraping import stage_relabelings
from tests.cluster.world import NAMESPACE
from tests.e2e.installed import SYSTEM, Installed

_SECONDS = 0.3


@contextmanager
def targets(world: Installed, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Keep files of targets current for the block; yield the ``scrape_configs`` that read them."""
    folder.mkdir()
    jobs: list[tuple[str, str, dict[str, Any]]] = [
        ("operator", SYSTEM, {"honor_labels": True}),
        ("stages", NAMESPACE, {"relabel_configs": stage_relabelings()}),
    ]
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(_SECONDS):
            for job, namespace, _ in jobs:
                listed = json.loads(world.cluster.kubectl("get", "pods", f"--namespace={namespace}", "-ojson"))
                found = [target for pod in listed["items"] for target in _targets(pod)]
                half = folder / f"{job}.half"
                half.write_text(json.dumps(found))
                half.rename(folder / f"{job}.json")

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    yield [
        {"job_name": job, "file_sd_configs": [{"files": [str(folder / f"{job}.json")]}], **more}
        for job, _, more in jobs
    ]
    ended.set()
    follower.join()


def _targets(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Ports named metrics of a pod that runs, as a PodMonitor selects them."""
    metadata, status = pod["metadata"], pod["status"]
    if status.get("phase") != "Running" or not status.get("podIP"):
        return []
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return [
        {"targets": [f"{status['podIP']}:{port['containerPort']}"], "labels": discovered_labels(metadata)}
        for port in ports
        if port.get("name") == "metrics"
    ]
