"""The cgroup of all pods of a node, in each of the machine's hierarchies."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cluster.places import ClusterError

END_SECONDS = 10


def make(name: str) -> None:
    """Create the cgroup; the kubelet refuses a root that is missing in one hierarchy."""
    for hierarchy in hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)


def remove(name: str) -> None:
    """Remove the cgroup with everything below it, with retries: the kernel releases a killed process a moment after its
    end."""
    deadline = time.monotonic() + END_SECONDS
    for hierarchy in hierarchies():
        while not _removed(hierarchy / name):
            if time.monotonic() > deadline:
                raise ClusterError(f"cgroup {hierarchy / name} stays busy: processes in it do not end")
            time.sleep(0.05)


def hierarchies() -> list[Path]:
    """Return where the hierarchies of cgroups, of version 1 or 2, are mounted."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(place) for _, place, kind, *_ in mounts if kind in {"cgroup", "cgroup2"}]


def _removed(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            return False
    return True
