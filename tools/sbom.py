"""What is in an image, as SPDX, by syft: packages of the system and of Python, with versions, licences and files."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.engines import Engine, EngineError

from misstep import __version__

ROOT = Path(__file__).parents[1]


def find_syft() -> str | None:
    """Return syft as `make syft` has built it, or else one that is installed; None where neither is."""
    return shutil.which("syft", path=f"{ROOT / '.cache/bin'}{os.pathsep}{os.environ.get('PATH', '')}")


def write_sbom(syft: str, engine: Engine, name: str, file: Path) -> None:
    """Write what is in one image of this machine.

    Raises:
        EngineError: syft failed; its own message is on standard error.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="misstep-sbom-") as scratch:
        command = [syft, "scan", "--quiet", engine.for_syft(name, Path(scratch)), "--output", f"spdx-json={file}"]
        command += ["--source-name", name.rpartition("/")[2].partition(":")[0], "--source-version", __version__]
        environment = os.environ | {"SYFT_CHECK_FOR_APP_UPDATE": "false"}
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            raise EngineError(f"syft could not read {name}")
    print(f"{file.relative_to(ROOT)}: what is in {name}", flush=True)
