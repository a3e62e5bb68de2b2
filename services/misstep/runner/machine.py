"""Cores, memory and GPUs that this machine, or the container around us, has for stages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from misstep.errors import BadInput
from misstep.plan.frozen import FrozenStage
from misstep.runner.schedule import Capacity

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_LISTED = re.compile(r"^( *)(?:GPU|MIG) .*\(UUID: ((?:GPU|MIG)-[^)]+)\)", re.MULTILINE)
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_MIB = 1024 * 1024


def capacity(processes: int | None = None) -> Capacity:
    """Measure cores (affinity and cgroup quota), memory (free now, within the cgroup's limit) and GPUs.

    Args:
        processes: run so many processes at once, whatever the number of cores.
    """
    return Capacity(cpus=cores(), memory_mib=free_memory_mib(), processes=processes, gpus=visible_gpus())


def check_gpus(stages: Iterable[FrozenStage], capacity: Capacity) -> None:
    """Refuse stages that ask for more GPUs than the machine has. Raises BadInput."""
    has = len(capacity.gpus)
    for stage in stages:
        nodes = stage.shards if stage.resources.distributed else 1  # all nodes are processes of this machine
        if stage.resources.gpus * nodes > has:
            field = f"spec.resources.{stage.kind.value}.gpus"
            fix = (
                f"Stage {stage.name} needs so many and this machine has {has}: set it to "
                f"{'0 (slow)' if has == 0 else f'{has} or fewer'} here and in spec.resources.default, or run in a "
                "cluster that has them."
            )
            raise BadInput(field, stage.resources.gpus * nodes, fix)


def cores(cgroup: Path = _CGROUP) -> int:
    """Return the whole cores that this process may use; at least one."""
    available = len(os.sched_getaffinity(0))
    quota, _, period = _read(cgroup / "cpu.max", "max").partition(" ")
    if quota != "max":
        available = min(available, int(quota) // int(period))
    return max(available, 1)


def free_memory_mib(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int:
    """Return the MiB of memory that new processes can have: MemAvailable of the kernel, within the cgroup's limit."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) // 1024
    limit = _read(cgroup / "memory.max", "max")
    if limit != "max":
        stat = dict(line.split() for line in _read(cgroup / "memory.stat", "").splitlines())
        cache = int(stat.get("inactive_file", 0))  # the kernel gives it up before anything is killed
        used = int(_read(cgroup / "memory.current", "0")) - cache
        available = min(available, (int(limit) - used) // _MIB)
    return max(available, 0)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the GPUs that processes started here may use, as ``CUDA_VISIBLE_DEVICES`` names them. Does not start CUDA.

    They are those that the driver lists, or those of them that the variable allows: CUDA reads it up to the first entry
    that names no device. A GPU that is divided into MIG instances counts as its instances.
    """
    found = gpus_listed(_nvidia_smi())
    allowed = environment.get(_VISIBLE)
    if allowed is None or not found:
        return found
    given = [entry.strip() for entry in allowed.split(",")]
    return tuple(takewhile(lambda entry: _names_a_gpu(entry, found), given))


def gpus_listed(text: str) -> tuple[str, ...]:
    """Return the identifiers in the output of ``nvidia-smi -L``."""
    found: list[str] = []
    for indent, name in _LISTED.findall(text):
        if indent and found and found[-1].startswith("GPU-"):
            found.pop()  # the GPU whose first instance this is
        found.append(name)
    return tuple(found)


def _nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _names_a_gpu(entry: str, found: Sequence[str]) -> bool:
    if entry.isdecimal():
        return int(entry) < len(found)
    return entry.startswith("MIG-") or (entry.startswith("GPU-") and any(name.startswith(entry) for name in found))


def _read(path: Path, default: str) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no cgroup v2 here, or its root, which has no limits
        return default
