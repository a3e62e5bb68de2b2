"""``misstep compare`` on real stores with made-up results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from misstep.stages.shell import run_stage
from tests.cli.running import Run
from tests.evaluation.world import World

TINY = {"test_problems": 110, "negatives": 20, "bootstrap": 100, "sft_sizes": (125, 250, 500), "seeds": (0,)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two reports, of different arms."""
    folder = tmp_path_factory.mktemp("world")
    for arms in ((("sft", "sft", None), ("dpo-random", "dpo", "random")), (("sft", "sft", None),)):
        world = World(folder, arms=arms, **TINY)  # type: ignore[arg-type]
        assert run_stage(world.report_stage()).committed
    return folder / "store"


def keys(store: Path) -> list[str]:
    return sorted(path.name for path in store.glob("report-*"))


def test_two_reports_of_one_store(run: Run, store: Path) -> None:
    one, other = keys(store)
    code, out, err = run("compare", f"one=file://{store}#{one[:13]}", f"other={store}#{other}", "--out", "sub/c.html")
    assert (code, err) == (0, "")
    assert "spec.arms" in out and "dpo-random" in out and "Page: sub/c.html" in out
    assert "tested" in out
    assert "Settings that differ" in Path("sub/c.html").read_text("utf-8")


def test_as_json_with_results_alone(run: Run, store: Path, tmp_path: Path) -> None:
    one, other = keys(store)
    (path,) = store.glob(f"{other}/files/*/results.json")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/results.json").write_bytes(path.read_bytes())
    code, out, _ = run("compare", f"{store}#{one}", "old", "--json")
    assert code == 0
    data = json.loads(out)
    assert [(e["name"], e["settings_known"]) for e in data["experiments"]] == [
        (f"store-{one[7:13]}", True),
        ("old", False),
    ]
    assert any("settings of old are not known" in text for text in data["warnings"])
    sft = [cell for cell in data["cells"] if cell["arm"] == "sft"]
    assert [cell["size"] for cell in sft] == [125, 250, 500]
    assert all(value["accuracy"]["low"] <= value["accuracy"]["value"] for cell in sft for value in cell["values"])
    code, _, err = run("compare", "old", "old/results.json")
    assert code == 64 and "NAME=old/results.json" in err


def test_errors_name_the_argument_and_the_fix(run: Run, store: Path, tmp_path: Path) -> None:
    one, _ = keys(store)
    code, _, err = run("compare", str(store), f"{store}#{one}")
    assert code == 64 and "It holds 2 reports" in err
    assert all(f"#{key[7:13]}" in err for key in keys(store)) and "sft, dpo-random; 125, 250, 500 problems" in err
    code, _, err = run("compare", f"{store}#{one}", f"again={store}#{one[:12]}")
    assert code == 64 and "has the same report as" in err
    code, _, err = run("compare", f"{store}#{one}")
    assert code == 64 and "Name two to 6" in err
    code, _, err = run("compare", f"{store}#{one}", "nowhere")
    assert code == 64 and "nowhere" in err and "has not run here" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run("compare", f"{store}#{one}", "empty")
    assert code == 64 and "no finished report" in err
    (tmp_path / "bad.json").write_text('{"title": 1}')
    code, _, err = run("compare", f"{store}#{one}", "bad.json")
    assert code == 64 and "bad.json" in err and "no results" in err
    code, _, err = run("compare", f"{store}#{one}", "bad.json", "--endpoint", "http://127.0.0.1:1")
    assert code == 64 and "--endpoint" in err
    assert not Path("comparison.html").exists()
