"""A real registry of images and charts on this machine, and what it has."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.store.servers import free_port, running


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run a registry over a folder and yield its host and port; skips where the program is not here."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no registry: the Debian package is docker-registry")
    port = free_port()
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "registry.yml").write_text(json.dumps(settings))  # JSON is YAML
    with running([program, "serve", str(folder / "registry.yml")], port, folder / "registry.log"):
        yield f"127.0.0.1:{port}"


def manifest(host: str, repository: str, reference: str) -> tuple[str, dict[str, Any]]:
    """The digest and the manifest that a registry has under a tag or a digest."""
    request = urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{reference}")
    kinds = ("oci.image.manifest.v1", "docker.distribution.manifest.v2")
    request.add_header("Accept", ", ".join(f"application/vnd.{kind}+json" for kind in kinds))
    with urllib.request.urlopen(request) as answer:
        return answer.headers["Docker-Content-Digest"], json.load(answer)


def configuration(host: str, repository: str, reference: str) -> dict[str, Any]:
    """The configuration of an image: its labels and its entry point among others."""
    _, found = manifest(host, repository, reference)
    with urllib.request.urlopen(f"http://{host}/v2/{repository}/blobs/{found['config']['digest']}") as answer:
        content: dict[str, Any] = json.load(answer)
    return content
