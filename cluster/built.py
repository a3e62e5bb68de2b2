"""Write images built by buildah or docker on this machine to files that the node can load."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.places import ClusterError


def export(names: Sequence[str], folder: Path) -> list[Path]:
    """Write images into ``folder`` and return the arguments for `Node.load`: an OCI layout, or archives of docker.

    Layers that images share are stored once in the layout, and lightly compressed, since it is read only once.
    """
    found: list[Path] = []
    layout = folder / "layout"
    for name in names:
        if _has("buildah", "inspect", "--type", "image", name):
            packed = ["--compression-format", "zstd", "--compression-level", "1"]
            _run("buildah", "push", "--quiet", *packed, name, f"oci:{layout}:{name}")
        elif _has("docker", "image", "inspect", name):
            archive = folder / f"{len(found)}.tar"
            _run("docker", "save", "--output", str(archive), name)
            found.append(archive)
        else:
            raise ClusterError(f"neither buildah nor docker has an image {name}: `make images` builds them")
    return [*found, *([layout] if layout.exists() else [])]


def _has(program: str, *arguments: str) -> bool:
    if shutil.which(program) is None:
        return False
    return subprocess.run([program, *arguments], check=False, capture_output=True).returncode == 0


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
