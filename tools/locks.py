#!/usr/bin/env python3
"""Write the locks: one requirements file per image, with hashes and without any index address.

    python tools/locks.py [--upgrade]

``dev`` is resolved first; each image's lock is then held to its versions, so that all of them agree.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("verification", "generation", "synthesis", "credit", "training", "evaluation", "local")
HEADER = "# Made by `make locks`; do not edit.\n"


def main(argv: list[str]) -> int:
    """Write all locks; returns the exit code."""
    folder = ROOT / "locks"
    compile_lock(folder / "dev.txt", ["--extra", "local", "--group", "dev", *argv])
    compile_lock(folder / "core.txt", ["--constraints", str(folder / "dev.txt")])
    for extra in EXTRAS:
        compile_lock(folder / f"{extra}.txt", ["--extra", extra, "--constraints", str(folder / "dev.txt")])
    return 0


def compile_lock(path: Path, options: list[str]) -> None:
    """Resolve ``pyproject.toml`` with some extras into one lock."""
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml", "--python-version", "3.11",
        "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links",
        "--output-file", str(path), *options,
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)
    path.write_text(HEADER + path.read_text().removeprefix(HEADER))
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
