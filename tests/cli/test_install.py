"""The wheel without a checkout: beside the core's libraries only, and beside all of them.

Nothing is downloaded: libraries are those of this environment. The command that installs them from an index, and
``uvx``, are not among these tests (docs/limits.md).
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from misstep.plan.kinds import StageKind
from tests.artifacts.making import frozen
from tests.runner.small import NAME, YAML

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel."""

    root: Path

    @property
    def site(self) -> Path:
        """The folder of its packages."""
        return next(self.root.glob("lib/python*/site-packages"))

    def __call__(self, folder: Path, *argv: object) -> subprocess.CompletedProcess[str]:
        """Run its command in a folder. Nothing of the test's environment reaches it but the system's variables."""
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MISSTEP", "VIRTUAL"))
        }
        environment = own | {"COLUMNS": "200", "MISSTEP_SCRATCH": str(self.root / "scratch"), "HF_HUB_OFFLINE": "1"}
        line = [str(self.root / "bin" / "misstep"), *map(str, argv)]
        return subprocess.run(
            line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def installed(wheel: Path, root: Path) -> Installed:
    venv.create(root, symlinks=True)
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-config"]
    subprocess.run([*command, "--python", str(root / "bin" / "python"), str(wheel)], check=True)
    return Installed(root)


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What `pip install misstep` makes: the wheel, and the libraries that ``locks/core.txt`` lists."""
    found = installed(wheel, tmp_path_factory.mktemp("core") / "venv")
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "locks/core.txt").read_text(), re.MULTILINE):
        library = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in library.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (found.site / top).exists():
                (found.site / top).symlink_to(Path(str(library.locate_file(top))))
    return found


@pytest.fixture(scope="module")
def local(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What `pip install misstep[local]` makes: the wheel, and all libraries."""
    found = installed(wheel, tmp_path_factory.mktemp("local") / "venv")
    places = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    (found.site / "libraries.pth").write_text("\n".join(places) + "\n")  # their own .pth files are not read
    return found


def test_what_runs_is_the_wheel(core: Installed, local: Installed, tmp_path: Path) -> None:
    for one in (core, local):
        python = [str(one.root / "bin" / "python"), "-c", "import misstep; print(misstep.__file__)"]
        done = subprocess.run(python, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)
        assert Path(done.stdout.strip()).is_relative_to(one.site)


def test_the_core_writes_checks_and_plans(core: Installed, tmp_path: Path) -> None:
    for argv in (
        ["--help"],
        ["init", "--list"],
        ["init", "quickstart"],
        ["validate", "quickstart.yaml"],
        ["plan", "quickstart.yaml"],
        ["tune", "quickstart.yaml", "--plan-only"],
        ["explain", "spec.credit"],
        ["schema"],
        ["init", "gsm8k", "--model", f"hf://org/name@{'a' * 40}"],
        ["validate", "gsm8k.yaml"],
        ["artifacts", "ls"],
    ):
        done = core(tmp_path, *argv)
        assert (done.returncode, done.stderr) == (0, ""), argv
    planned = core(tmp_path, "plan", "quickstart.yaml").stdout
    assert "the stage inspect checks" in planned
    assert 'pip install "misstep[training]"' in planned


@pytest.mark.parametrize(
    ("argv", "extra"),
    [
        (["run", "quickstart.yaml"], "local"),
        (["run", "quickstart.yaml", "--only", "problems"], "problems"),
        (["tune", "quickstart.yaml"], "local"),
        (["credit", "rows.jsonl", "--model", "quickstart-base", "--dry-run"], "credit"),
        (["verify", "rows.jsonl", "--response", "a", "--gold", "b", "--out", "c.jsonl"], "verification"),
        (["audit", "credit", "quickstart"], "evaluation"),
        (["audit", "verdicts", "quickstart"], "evaluation"),
        (["artifacts", "export", "pairs-1", "--out", "c.jsonl"], "records"),
        (["artifacts", "export", "pairs-1", "--out", "c.jsonl", "--format", "trl-preference"], "credit"),
        (["inspect-model", "quickstart-base"], "training"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_the_core_names_the_part_that_a_command_lacks_and_starts_nothing(
    core: Installed, tmp_path: Path, argv: list[str], extra: str
) -> None:
    core(tmp_path, "init", "quickstart")
    before = sorted(tmp_path.rglob("*"))
    done = core(tmp_path, *argv)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("error: misstep ")
    assert done.stderr.endswith(f'Install what it needs: pip install "misstep[{extra}]".\n')
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_stage_names_its_part_too(core: Installed, tmp_path: Path) -> None:
    done = core(tmp_path, "stage", frozen(StageKind.SCORE).model_dump_json())
    assert done.returncode == 64
    assert "stage score-test: not installed: jinja2" in done.stderr
    assert "misstep[evaluation]" in done.stderr
    assert "Traceback" not in done.stderr


def test_everything_runs_from_an_empty_folder(core: Installed, local: Installed, tmp_path: Path) -> None:
    assert local(tmp_path, "init", "quickstart").stdout.endswith("  misstep run quickstart.yaml\n")
    planned = local(tmp_path, "plan", "quickstart.yaml")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert "not here" not in planned.stdout
    small = tmp_path / f"{NAME}.yaml"  # the quickstart's task and model, cut down to seconds
    small.write_text(re.sub(r"path: \S+quickstart-base", "path: quickstart-base", YAML))
    done = local(tmp_path, "run", small.name)
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tmp_path / ".misstep" / NAME / "report.html").is_file()
    again = core(tmp_path, "run", small.name)
    assert again.returncode == 0, "the core shows what is finished: nothing has to run"
    _, nothing, shown = again.stdout.partition("nothing to do\n")
    assert nothing, again.stdout
    assert "dpo-step" in shown
    assert done.stdout.endswith(shown)
