"""The folder of wheels for a GPU machine without a registry: what goes in, what stays out, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tools.gpu_check import at_hand
from tools.wheel_choice import (
    OWN,
    Choice,
    choose,
    direct_needs,
    environment_of,
    installed_needs,
    listed,
    locked,
    usual_machine,
    version_of,
)

from tools import gpu_wheels

ROOT = Path(__file__).parents[2]
LOCK = locked((ROOT / "locks/local.txt").read_text())
NEEDS = {
    "misstep": ["alpha[more]>=2", "beta>=1", "torch>=2", "boto3>=1", 'old; python_version < "3.12"', "gamma"],
    "alpha": ["delta", "nvidia-cublas", 'extra-one; extra == "more"', 'extra-two; extra == "other"'],
    "boto3": ["botocore"],
}


def chosen(have: dict[str, str | None], *asked: str, python: str = "3.12") -> Choice:
    def needs(name: str, _extras: frozenset[str]) -> list[Requirement]:
        return [Requirement(line) for line in NEEDS.get(name, [])]

    return choose(have, needs, environment_of(python), asked)


def test_what_the_machine_lacks_goes_in_with_what_that_needs_and_nothing_of_torch() -> None:
    choice = chosen({"beta": "1.5", "gamma": None})
    assert set(choice.carried) == {"alpha", "delta", "extra-one"}
    assert choice.carried["delta"] == "for alpha"
    assert choice.there == {"beta": ">=1", "gamma": ""}
    assert set(choice.own) == {"torch", "nvidia-cublas"}


def test_a_version_that_does_not_do_goes_in_and_the_reason_is_given() -> None:
    choice = chosen({"alpha": "1.0", "beta": "0.9", "gamma": "1"})
    assert {"alpha", "beta"} <= set(choice.carried)
    assert choice.carried["beta"] == "misstep needs >=1, and the machine has 0.9"
    assert "beta" not in choice.there


def test_what_the_check_does_not_need_stays_out_unless_it_is_asked_for() -> None:
    assert "S3" in chosen({}).left_out["boto3"]
    assert "botocore" not in chosen({}).carried
    asked = chosen({}, "boto3")
    assert {"boto3", "botocore"} <= set(asked.carried)
    assert set(asked.left_out) == {"vllm"}


def test_requirements_are_those_of_the_machines_python() -> None:
    assert "old" not in chosen({}).carried
    assert "old" in chosen({}, python="3.11").carried


def test_for_a_usual_gpu_machine_the_lock_has_everything_that_goes_in() -> None:
    environment = environment_of("3.12")
    have = usual_machine(installed_needs, environment)
    assert {"torch", "transformers", "accelerate", "numpy", "pyyaml", "jinja2"} <= have.keys()
    choice = choose(have, installed_needs, environment, ())
    assert {"trl", "datasets", "structlog", "math-verify", "pyarrow"} <= choice.carried.keys() <= LOCK.keys()
    assert not choice.carried.keys() & (OWN.keys() | have.keys())
    assert set(choice.left_out) == {"boto3", "httpx2", "tenacity", "vllm"}
    # What no check of versions covers is named in pyproject.toml.
    assert direct_needs() <= choice.carried.keys() | choice.there.keys() | choice.own.keys() | choice.left_out.keys()


def test_a_list_of_packages_is_read_as_pip_writes_it() -> None:
    lines = ["Jinja2==3.1.6", "typing_extensions==4.16.0", "mine @ file:///x", "-e git+x", "# comment", "torch"]
    assert listed(lines) == {"jinja2": "3.1.6", "typing-extensions": "4.16.0", "mine": None, "torch": None}


def test_a_lock_is_read_with_versions_and_hashes() -> None:
    assert version_of(LOCK["trl"]).startswith("1.16.")
    assert all("--hash=sha256:" in entry for entry in LOCK.values())
    assert "==" not in LOCK["trl"].replace(f"trl=={version_of(LOCK['trl'])}", "")


def test_a_folder_that_is_too_large_is_refused_with_what_takes_the_room() -> None:
    gpu_wheels.check_limit({"pyarrow": 40.0, "trl": 1.0}, 41)
    with pytest.raises(gpu_wheels.TooLargeError, match=r"41 MB of wheels.*pyarrow 40 MB.*HAVE="):
        gpu_wheels.check_limit({"pyarrow": 40.0, "trl": 1.0}, 40)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(LookupError, match="holds other things"):
        gpu_wheels.make(tmp_path, "3.12", {}, (), 1)
    assert (tmp_path / "mine").exists()


def test_before_anything_is_installed_it_says_which_python_and_folder_are_needed(tmp_path: Path) -> None:
    with pytest.raises(at_hand.NotPossibleError, match=r"This is Python 3\.10, and Misstep needs 3\.11"):
        at_hand.read_list(tmp_path, (3, 10))
    with pytest.raises(at_hand.NotPossibleError, match=r"make gpu-wheels PYTHON_VERSION=3\.12"):
        at_hand.read_list(tmp_path, (3, 12))
    gpu_wheels.write_list(tmp_path, Choice(there={"rich": ">=14"}), "3.13")
    with pytest.raises(at_hand.NotPossibleError, match=r"for Python 3\.13, and this is 3\.12"):
        at_hand.read_list(tmp_path, (3, 12))
    assert at_hand.read_list(tmp_path, (3, 13))["there"] == {"rich": ">=14"}


def test_before_anything_is_installed_it_names_packages_that_are_missing_or_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = dict.fromkeys(at_hand.ALWAYS, "1.0") | {"rich": "13.0"}
    monkeypatch.setattr(at_hand, "version_here", here.get)
    at_hand.check_packages({"rich": ">=13"})
    with pytest.raises(at_hand.NotPossibleError, match=r"rich 13\.0 \(needed: >=14\).*HAVE=FILE"):
        at_hand.check_packages({"rich": ">=14"})
    with pytest.raises(at_hand.NotPossibleError, match=r"lacks pandas, and the folder too.*HAVE=FILE"):
        at_hand.check_packages({"pandas": ""})
    del here["torch"]
    with pytest.raises(at_hand.NotPossibleError, match="lacks torch, which must be the machine's own"):
        at_hand.check_packages({})


@pytest.mark.slow
def test_a_folder_is_made_and_the_checks_run_with_it(tmp_path: Path) -> None:
    lacking = {"misstep", "structlog", "math-verify"}
    have = [f"{one.name}=={one.version}" for one in metadata.distributions() if one.name not in lacking]
    (tmp_path / "have.txt").write_text("\n".join(have))
    folder = tmp_path / "wheels"
    made = subprocess.run(
        [sys.executable, str(ROOT / "tools/gpu_wheels.py"), str(folder), "--have-file", str(tmp_path / "have.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    if "No matching distribution" in made.stderr or "ConnectionError" in made.stderr:
        pytest.skip("no package registry is reached")
    assert made.returncode == 0, made.stderr
    assert {path.name.split("-")[0] for path in folder.glob("*.whl")} == {"misstep", "structlog", "math_verify"}
    command = [sys.executable, str(ROOT / "tools/gpu_check/at_hand.py"), "--wheels", str(folder), "--on-cores"]
    command += ["--skip", "whole", "greedy", "tensor", "zero2", "zero3", "shapes", "--work", str(tmp_path / "work")]
    command += ["--site", str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{"))) == {
        "example": "not tried"
    }
    assert "left out: boto3" in done.stdout
    assert "other sources" not in done.stdout
    assert (tmp_path / "site/misstep/__init__.py").is_file()
