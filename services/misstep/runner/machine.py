"""What this machine, or the container that we are in, offers to stages."""

from __future__ import annotations

import os
from pathlib import Path

from misstep.runner.schedule import Capacity

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_MIB = 1024 * 1024


def capacity(processes: int | None = None) -> Capacity:
    """Measure cores (affinity and cgroup quota) and memory (free now, within the cgroup's limit).

    Args:
        processes: as many processes at once, whatever the cores.
    """
    return Capacity(cpus=cores(), memory_mib=free_memory_mib(), processes=processes)


def cores(cgroup: Path = _CGROUP) -> int:
    """Return the whole cores that this process may use; at least one."""
    available = len(os.sched_getaffinity(0))
    quota, _, period = _read(cgroup / "cpu.max", "max").partition(" ")
    if quota != "max":
        available = min(available, int(quota) // int(period))
    return max(available, 1)


def free_memory_mib(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int:
    """Return the MiB that new processes can have: what the kernel calls available, within the cgroup's limit."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) // 1024
    limit = _read(cgroup / "memory.max", "max")
    if limit != "max":
        stat = dict(line.split() for line in _read(cgroup / "memory.stat", "").splitlines())
        cache = int(stat.get("inactive_file", 0))  # the kernel gives it up before anything is killed
        used = int(_read(cgroup / "memory.current", "0")) - cache
        available = min(available, (int(limit) - used) // _MIB)
    return max(available, 0)


def _read(path: Path, default: str) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no cgroup v2 here, or its root, which has no limits
        return default
