#!/usr/bin/env python3
"""Run the checks of `make gpu-check` with the Python at hand and a folder of wheels, where no registry is reached.

    python3 tools/gpu_check/at_hand.py --wheels FOLDER [options of `python -m tools.gpu_check`]

FOLDER is what `make gpu-wheels` made on another machine. Its wheels are put into a folder of their own, which comes
before the machine's packages; nothing of the machine's Python is changed. The machine's own torch and transformers are
used, whatever their versions, and the table says how they differ from the lock. What is missing is said before anything
runs.

This file needs Python and pip alone: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OLDEST = (3, 11)
ALWAYS = ("torch", "transformers", "tokenizers", "huggingface-hub", "safetensors", "accelerate", "numpy", "packaging")
"""What the machine's own Python must have."""
NOTE = "MISSTEP_GPU_CHECK"
"""The environment variable in which `python -m tools.gpu_check` is told what the folder lacks."""


class NotPossibleError(Exception):
    """Something is missing; the text says what, and what to do."""


def read_list(wheels: Path, version: tuple[int, ...]) -> dict[str, Any]:
    """Check that the folder is there and made for this Python; return its list."""
    mine = ".".join(map(str, version))
    if version < OLDEST:
        raise NotPossibleError(f"This is Python {mine}, and Misstep needs 3.11 or newer: name another (GPU_PYTHON=).")
    if not (wheels / "wheels.json").is_file():
        raise NotPossibleError(
            f"{wheels} is no folder of wheels: run `make gpu-wheels PYTHON_VERSION={mine}` on a machine with a package "
            "registry, copy what it makes, and name it (WHEELS=)."
        )
    held: dict[str, Any] = json.loads((wheels / "wheels.json").read_text())
    if held["python"] != mine:
        raise NotPossibleError(
            f"The wheels are for Python {held['python']}, and this is {mine}: run `make gpu-wheels "
            f"PYTHON_VERSION={mine}` again."
        )
    return held


def check_packages(asked: dict[str, str]) -> None:
    """Check that the machine has what the folder takes to be there, in versions that do.

    Args:
        asked: package -> the versions that are needed.
    """
    again = (
        f"Write `{sys.executable} -m pip list --format=freeze` to a file on this machine, and run `make gpu-wheels "
        "HAVE=FILE` again."
    )
    here = {name: version_here(name) for name in (*ALWAYS, *sorted(asked))}
    if lacking := [name for name in ALWAYS if here[name] is None]:
        raise NotPossibleError(
            f"{sys.executable} lacks {', '.join(lacking)}, which must be the machine's own: install them, or name "
            "another Python (GPU_PYTHON=)."
        )
    if lacking := [name for name, version in here.items() if version is None]:
        raise NotPossibleError(f"{sys.executable} lacks {', '.join(lacking)}, and the folder too. {again}")
    from packaging.specifiers import SpecifierSet

    old = [
        f"{name} {here[name]} (needed: {versions})"
        for name, versions in sorted(asked.items())
        if not SpecifierSet(versions).contains(here[name] or "", prereleases=True)
    ]
    if old:
        raise NotPossibleError(f"These versions do not do: {', '.join(old)}. {again}")


def version_here(name: str) -> str | None:
    """Return a package's version in this Python, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def install(wheels: Path, site: Path) -> None:
    """Put the wheels into a folder; no registry is asked."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        raise NotPossibleError(
            f"{sys.executable} has no pip: try `{sys.executable} -m ensurepip`, or name another Python (GPU_PYTHON=)."
        )
    shutil.rmtree(site, ignore_errors=True)
    command = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-cache-dir"]
    command += ["--no-warn-script-location", "--target", str(site), *map(str, sorted(wheels.glob("*.whl")))]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise NotPossibleError(f"pip could not install the wheels:\n{done.stdout.strip()}")


def environment_with(site: Path, held: dict[str, Any]) -> dict[str, str]:
    """Return the environment in which the checks run: our folder first, and nothing asks a registry or the Hub."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PIP_NO_INDEX": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        NOTE: json.dumps({name: held[name] for name in ("left_out", "sources")}),
    }


def main() -> int:
    """Check, install, run the checks; return their exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--wheels", type=Path, required=True, help="folder that `make gpu-wheels` made")
    parser.add_argument("--site", type=Path, help="folder to install to (default: a new one, removed at the end)")
    options, more = parser.parse_known_args()
    scratch = Path(tempfile.mkdtemp(prefix="misstep-at-hand-"))
    site = options.site.resolve() if options.site else scratch / "site"
    try:
        held = read_list(options.wheels.resolve(), sys.version_info[:2])
        check_packages(held["there"])
        install(options.wheels.resolve(), site)
        command = [sys.executable, "-m", "tools.gpu_check", *more]
        return subprocess.run(command, cwd=ROOT, env=environment_with(site, held), check=False).returncode
    except NotPossibleError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
