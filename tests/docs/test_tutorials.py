"""The tutorials: their commands do what the pages say, one after the other, in a fresh folder.

Ordinary runs try one of the pages, with the cuts that a page offers to readers in a hurry. ``make sweeps`` tries all
of them, and those that run an Experiment also without a cut, which takes some twenty minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cluster.places import KUBECTL
from misstep.cli.app import app
from tests.chart.rendering import objects, render
from tests.docs.page import FOLDER, ROOT, Commands, Printed, read, words

PAGES = sorted(path.stem for path in FOLDER.glob("*.md"))
SMOLLM2 = ROOT / ".cache" / "models" / "smollm2"
SECONDS = 3000
"""The longest that a block may take in a whole run, on a busy machine."""
KEEP_VARIABLES = "trap 'export -p >.variables' EXIT; [ ! -e .variables ] || . ./.variables; set -a\n"


def tried(names: list[str], folder: Path, *, whole: bool) -> None:
    """Run the commands of pages in a folder, and compare what they print with what the pages show."""
    for name in names:
        for commands in read(name):
            if commands.runs(whole=whole):
                compare(commands, run(commands.text, folder, commands.code), whole=whole)


def run(text: str, folder: Path, code: int) -> str:
    """Run commands as bash does when a person pastes them, but end at the first that fails. Return what is printed.

    Variables that they set are there for the next commands in the folder.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MISSTEP_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "services"),
        "COLUMNS": "110",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "HF_HUB_OFFLINE": "1",
        "MISSTEP_SCRATCH": str(folder / ".scratch"),
    }
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", KEEP_VARIABLES + text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == code, f"{text}\n{done.stdout}"
    return done.stdout


def compare(commands: Commands, output: str, *, whole: bool) -> None:
    for printed in commands.printed:
        if whole or printed.note != "whole run":
            assert not printed.missing(output), f"{commands.text}\n{output}"


FIRST, DATA, MODEL, CLUSTER = (
    ["first-experiment", "reading-the-report"],
    ["your-own-data"],
    ["your-own-data", "your-own-model"],
    ["in-a-cluster"],
)
"""Pages that need the folder that the page before leaves."""


@pytest.mark.slow
@pytest.mark.sweep(keep=1)
@pytest.mark.parametrize("names", [FIRST, DATA, MODEL, CLUSTER], ids=lambda names: names[-1])
def test_a_page_does_what_it_says(tmp_path: Path, names: list[str]) -> None:
    if names == MODEL:
        with_smollm2(tmp_path)
    tried(names, tmp_path, whole=False)


@pytest.mark.slow
@pytest.mark.sweep(keep=0)
@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize("names", [FIRST, MODEL], ids=lambda names: names[-1])
def test_a_whole_page_does_what_it_says(tmp_path: Path, names: list[str]) -> None:
    if names == MODEL:
        with_smollm2(tmp_path)
    tried(names, tmp_path, whole=True)


def with_smollm2(folder: Path) -> None:
    """Put the model where the page has it, or skip the test."""
    if not (SMOLLM2 / "config.json").exists():
        pytest.skip("no SmolLM2: `make smollm2` writes it")
    (folder / "models").mkdir()
    (folder / "models" / "smollm2").symlink_to(SMOLLM2)


def every_command(program: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (page, arguments) of each command of a program, whether a test runs it or not."""
    for name in PAGES:
        for block in read(name):
            for line in block.lines():
                for command in words(line):
                    if command[0] == program:
                        yield name, command[1:]


def test_every_page_is_tried() -> None:
    assert set(PAGES) == {*FIRST, *DATA, *MODEL, *CLUSTER}


def test_every_command_of_misstep_is_one_that_it_has() -> None:
    there = list(every_command("misstep"))
    assert len(there) > 30
    for name, argv in there:
        command: Any = typer.main.get_command(app)
        context = command.context_class(command)
        left = list(argv)
        while hasattr(command, "resolve_command"):
            assert left, f"{name}: {argv}"
            found, command, left = command.resolve_command(context, left)
            context = command.context_class(command, info_name=found, parent=context)
        command.make_parser(context).parse_args(left)  # an option that it lacks is an error, and nothing is done


@pytest.mark.parametrize(
    ("shown", "note", "missing"),
    [
        ("one 1\n…\nthree 3\n", "", []),
        ("two   2\n", "", []),
        ("three 3\none 1\n", "", ["one 1"]),
        ("one 2\n", "", ["one 2"]),
        ("one 2\n", "other figures", []),
        ("…ee …\n", "", []),
    ],
)
def test_lines_that_are_not_printed_are_noticed(shown: str, note: str, missing: list[str]) -> None:
    assert Printed(shown, note).missing("one 1\n  two 2  \nthree 3\n") == missing


def values_of(argv: list[str]) -> dict[str, Any]:
    """The values that a ``helm`` command sets."""
    values: dict[str, Any] = {}
    for option, given in pairwise(argv):
        if option == "--set":
            for one in given.split(","):
                path, _, text = one.partition("=")
                *outer, last = path.split(".")
                place = values
                for step in outer:
                    place = place.setdefault(step, {})
                place[last] = yaml.safe_load(text.replace("{", "[").replace("}", "]"))
    return values


def test_the_chart_has_every_value_that_a_page_sets() -> None:
    installed = [argv for _, argv in every_command("helm") if argv[0] in ("install", "upgrade")]
    assert len(installed) == 2
    for argv in installed:
        assert objects(values_of(argv))  # a value that the chart lacks is an error


def test_the_way_to_the_trial_store_is_that_of_the_charts_notes() -> None:
    (install,) = [argv for _, argv in every_command("helm") if argv[0] == "install"]
    notes = render(values_of(install))["NOTES.txt"].replace("--namespace system", "--namespace misstep")
    (block,) = [block for block in read("in-a-cluster") if "port-forward" in block.text]
    for line in block.text.splitlines():
        assert line in notes


def test_kubectl_has_every_option_that_a_page_gives() -> None:
    program = shutil.which("kubectl") or (KUBECTL if KUBECTL.exists() else None)
    if program is None:
        pytest.skip("no kubectl: `make cluster-build` compiles it")
    asked = [argv for _, argv in every_command("kubectl")]
    assert len(asked) > 8
    for argv in asked:
        command = [program, *argv, "--help"]  # an option that it lacks is an error, and nothing is done
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
