"""The table of extras is that of pyproject.toml, and the error for what is missing names the smallest extra."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from misstep.plan import extras
from misstep.plan.extras import EXTRAS, NotInstalled, extra_with, extras_of, modules_of, need, smallest
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import KINDS, StageKind
from misstep.store.description import Storage

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
MODULES = {"mlflow-skinny": "mlflow"}
"""Distributions whose module has another name."""


def stage(kind: StageKind, **params: object) -> FrozenStage:
    return FrozenStage(
        kind=kind, name=kind.value, key=f"{kind.value}-0", params=params, storage=Storage(uri="file:///s")
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The libraries that are there; a test fills it."""
    there: set[str] = set()
    monkeypatch.setattr(extras, "_is_there", there.__contains__)
    return there


def test_the_table_is_that_of_pyproject() -> None:
    declared = PROJECT["optional-dependencies"]
    assert EXTRAS.keys() == declared.keys()
    for name, texts in declared.items():
        requirements = [Requirement(text) for text in texts]
        libraries = {MODULES.get(one.name, one.name.replace("-", "_")) for one in requirements} - {PROJECT["name"]}
        contained = {extra for one in requirements if one.name == PROJECT["name"] for extra in one.extras}
        assert set(EXTRAS[name].modules) == libraries, name
        assert set(EXTRAS[name].contains) == contained, name


def test_what_is_installed_here_is_found() -> None:
    need("everything on one machine", "local")


@pytest.mark.parametrize("kind", StageKind)
def test_each_kind_needs_an_extra_that_local_contains(kind: StageKind) -> None:
    assert modules_of(KINDS[kind].extra) <= modules_of("local")


def test_stages_need_the_extras_of_their_kinds_and_of_their_engine() -> None:
    decoding = {"engine": "vllm"}
    assert extras_of([stage(StageKind.VERIFY), stage(StageKind.SCORE)]) == {"verification", "evaluation"}
    assert extras_of([stage(StageKind.SYNTHESIZE)]) == {"synthesis"}
    assert extras_of([stage(StageKind.SAMPLE, decoding=decoding)]) == {"generation", "vllm-gpu"}
    assert extras_of([stage(StageKind.PAIRS, decoding=None)]) == {"credit"}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"records"}, "records"),
        ({"verification"}, "verification"),
        ({"verification", "generation"}, "credit"),
        ({"credit", "training"}, "training"),
        ({"credit", "evaluation"}, "local"),
        ({"vllm-gpu", "credit"}, "vllm-gpu"),
        ({"vllm-gpu", "evaluation"}, "evaluation,vllm-gpu"),
        ({"operator", "evaluation"}, "evaluation,operator"),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else None,
)
def test_the_smallest_extra_that_has_all_is_named(wanted: set[str], found: str) -> None:
    assert smallest(wanted) == found


def test_an_extra_that_is_there_is_not_asked_for(installed: set[str]) -> None:
    installed |= modules_of("training")
    with pytest.raises(NotInstalled) as caught:
        need("misstep run", "verification", "training", "evaluation")
    assert str(caught.value) == (
        "misstep run: not installed: jinja2, matplotlib, scipy. "
        'Install what it needs: pip install "misstep[evaluation]".'
    )
    assert caught.value.exit_code == 64


def test_only_some_of_many_libraries_are_named(installed: set[str]) -> None:
    with pytest.raises(NotInstalled, match=r"accelerate, datasets, deepspeed and \d+ more\. .*misstep\[local\]"):
        need("misstep run", "training", "evaluation")


def test_without_vllm_the_way_for_processor_cores_is_named_too(installed: set[str]) -> None:
    installed |= modules_of("local")
    with pytest.raises(NotInstalled, match=r'vllm\. .*misstep\[vllm-gpu\]"\. .* `make vllm`'):
        need("misstep run", "vllm-gpu", "generation")


def test_a_module_belongs_to_the_smallest_extra_that_brings_it() -> None:
    assert extra_with("pyarrow.parquet") == "records"
    assert extra_with("jinja2") == "evaluation"
    assert extra_with("trl") == "training"
    assert extra_with("misspelt") is None
