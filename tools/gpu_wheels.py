#!/usr/bin/env python3
"""Make a folder of wheels for `make gpu-check` on a GPU machine without a package registry: `make gpu-wheels`.

    python tools/gpu_wheels.py FOLDER                           for a machine with torch, transformers and accelerate
    python tools/gpu_wheels.py FOLDER --python 3.12 --have-file LIST     for one with what LIST says, which is its
                                                                `pip list --format=freeze`
    python tools/gpu_wheels.py FOLDER --have pyarrow pandas scipy        more packages that it has

The folder gets Misstep, and in the versions of the lock those of its libraries that the machine lacks or has in a
version that does not do. torch, transformers and what belongs to them stay the machine's own. The table says what goes
in and why, and what was left out and why. Where the folder is larger than --limit-mb, nothing is kept.

Run it on a machine with a package registry, by the Python of `make setup`; then copy the checkout and the folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from tools.wheel_choice import (
    Choice,
    choose,
    environment_of,
    installed_needs,
    listed,
    locked,
    usual_machine,
    version_of,
)

ROOT = Path(__file__).parents[1]
LIST = "wheels.json"
"""What the folder is for and what it lacks; `tools/gpu_check/at_hand.py` reads it."""
LIMIT_MB = 48
BUILT = {"deepspeed": {"DS_BUILD_OPS": "0"}}
"""Packages of which the registry has the source only -> the environment to build them in. DeepSpeed compiles its
kernels when they are first used; training uses none."""
_GLIBC = range(28, 4, -1)
"""Minor versions of glibc 2 whose wheels are taken; the first is that of the oldest systems that the images run on."""


class TooLargeError(Exception):
    """The folder would be larger than allowed."""


def sources_digest() -> str:
    """Return a digest of Misstep's sources, to compare a wheel with a checkout."""
    digest = hashlib.sha256()
    for package in ("services/misstep", "operator/misstep_operator"):
        for file in sorted((ROOT / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def fetch(entries: dict[str, str], folder: Path, python: str) -> None:
    """Download wheels of locked packages, checked by their hashes, and build those that have none."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    plain = [lines for name, lines in entries.items() if name not in BUILT]
    machine = platform.machine()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC]
    platforms += [f"manylinux2014_{machine}", f"manylinux1_{machine}", f"linux_{machine}"]
    wanted = [word for name in platforms for word in ("--platform", name)]
    with tempfile.TemporaryDirectory() as scratch:
        asked = Path(scratch, "asked.txt")
        if plain:
            asked.write_text("\n".join(plain))
            command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(asked)]
            command += ["--python-version", python, "--implementation", "cp", *wanted, "--dest", str(folder)]
            subprocess.run(command, check=True)
        for name in sorted(entries.keys() & BUILT.keys()):
            asked.write_text(entries[name])
            command = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--require-hashes", "-r", str(asked)]
            subprocess.run([*command, "--wheel-dir", str(folder)], env={**os.environ, **BUILT[name]}, check=True)
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)], check=True
    )


def megabytes(folder: Path) -> dict[str, float]:
    """Return the size of each wheel, by the name in front of its version, the largest first."""
    sizes = {
        path.name.split("-")[0].lower().replace("_", "-"): path.stat().st_size / 1e6 for path in folder.glob("*.whl")
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def check_limit(sizes: dict[str, float], limit: float) -> None:
    """Raise TooLargeError, with what helps, if the wheels take more than ``limit`` MB."""
    total = sum(sizes.values())
    if total > limit:
        largest = ", ".join(f"{name} {size:.0f} MB" for name, size in list(sizes.items())[:4])
        raise TooLargeError(
            f"{total:.0f} MB of wheels, and the limit is {limit:.0f}. The largest: {largest}. Say what the machine has "
            "(HAVE=, --have-file, or --have), or raise the limit (LIMIT_MB=, --limit-mb)."
        )


def write_list(folder: Path, choice: Choice, python: str) -> None:
    """Write what `at_hand.py` checks and says."""
    held = {
        "python": python,
        "sources": sources_digest(),
        "there": choice.there,
        "own": choice.own,
        "left_out": choice.left_out,
    }
    (folder / LIST).write_text(json.dumps(held, indent=1, sort_keys=True))


def show(choice: Choice, sizes: dict[str, float], versions: dict[str, str]) -> None:
    """Print what is in the folder and what is not."""
    table = Table(
        "package", "version", "MB", "why it is in the folder", title=f"{sum(sizes.values()):.1f} MB of wheels"
    )
    for name, size in sizes.items():
        table.add_row(name, versions.get(name, "this checkout"), f"{size:.1f}", choice.carried.get(name, "the project"))
    console = Console(width=120)
    console.print(table)
    table = Table("package", "why it is not in the folder", title="Left out")
    for name, why in sorted(choice.left_out.items()):
        table.add_row(name, why)
    belonging = sum(why == "comes with torch" for why in choice.own.values())
    for name, why in sorted(choice.own.items()):
        if why != "comes with torch":
            table.add_row(name, f"the machine's own: {why}")
    if belonging:
        table.add_row(f"{belonging} more", "the machine's own: they come with torch")
    if choice.there:
        table.add_row(", ".join(sorted(choice.there)), "the machine has them, as listed or with torch and transformers")
    console.print(table)


def make(folder: Path, python: str, have: dict[str, str | None], asked: Iterable[str], limit: float) -> Choice:
    """Fill the folder, replacing an earlier content. Raises TooLargeError, and LookupError where the lock lacks a
    package."""
    if folder.exists() and any(folder.iterdir()) and not (folder / LIST).exists():
        raise LookupError(f"{folder} holds other things: name an empty or a new folder")
    choice = choose(have, installed_needs, environment_of(python), asked)
    lock = locked((ROOT / "locks/local.txt").read_text())
    if missing := sorted(choice.carried.keys() - lock.keys()):
        raise LookupError(f"locks/local.txt has no {', '.join(missing)}: run `make locks`")
    with tempfile.TemporaryDirectory() as scratch:
        fetched = Path(scratch, "wheels")
        fetched.mkdir()
        fetch({name: lock[name] for name in sorted(choice.carried)}, fetched, python)
        sizes = megabytes(fetched)
        check_limit(sizes, limit)
        write_list(fetched, choice, python)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(fetched, folder)
    show(choice, sizes, {name: version_of(lock[name]) for name in choice.carried})
    return choice


def main() -> int:
    """Make the folder and print what is in it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=platform.python_version().rpartition(".")[0], help="of the machine: 3.12")
    parser.add_argument("--have-file", type=Path, help="the machine's `pip list --format=freeze`")
    parser.add_argument("--have", nargs="*", default=[], metavar="NAME[==VERSION]", help="more packages that it has")
    parser.add_argument("--with", nargs="*", default=[], dest="asked", help="packages that are left out otherwise")
    parser.add_argument("--limit-mb", type=float, default=LIMIT_MB)
    options = parser.parse_args()
    if options.have_file:
        have = listed(options.have_file.read_text().splitlines())
    else:
        have = usual_machine(installed_needs, environment_of(options.python))
    try:
        make(options.folder, options.python, have | listed(options.have), options.asked, options.limit_mb)
    except (LookupError, TooLargeError, subprocess.CalledProcessError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Copy this checkout and {options.folder} to the machine. There: python3 tools/gpu_check/at_hand.py --wheels "
          f"{options.folder}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
