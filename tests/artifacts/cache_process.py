"""A process that uses a model cache: python -m tests.artifacts.cache_process ROOT TEXT [LIMIT] [hang]

It takes the entry of a model whose only file holds TEXT, says so, and holds it until its input ends. With ``hang`` it
stops in the middle of filling.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from misstep.artifacts.digest import folder_digest
from misstep.artifacts.model_cache import ModelCache

NAME = "model.safetensors"


def digest(text: str) -> str:
    return folder_digest({NAME: sha256(text.encode()).hexdigest()})


def main(root: str, text: str, limit: str = "", hang: str = "") -> None:
    filled = False

    def fill(target: Path) -> None:
        nonlocal filled
        filled = True
        target.mkdir()
        (target / NAME).write_text(text[: len(text) // 2])
        if hang:
            print(json.dumps({"filling": True}), flush=True)
            time.sleep(300)
        time.sleep(0.3)  # long enough for others to come
        (target / NAME).write_text(text)

    cache = ModelCache(Path(root), int(limit) if limit else None)
    folder = cache.folder(digest(text), len(text), fill)
    read = (folder / NAME).read_text() if folder else None
    print(json.dumps({"filled": filled, "folder": str(folder) if folder else None, "right": read == text}), flush=True)
    sys.stdin.read()
    cache.close()


@contextmanager
def using(root: Path, text: str, limit: int | None = None, *, hang: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Start the process; ``said`` waits for its line. It is ended at the end of the block."""
    argv = [str(root), text, "" if limit is None else str(limit), "hang" if hang else ""]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.artifacts.cache_process", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": "services", "PATH": "/usr/bin:/bin"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):  # not a log line
            answer: dict[str, Any] = json.loads(line)
            if "event" not in answer:
                return answer
    raise AssertionError("the process ended and said nothing")


if __name__ == "__main__":
    main(*sys.argv[1:])
