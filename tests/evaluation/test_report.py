from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas
import pytest
from rich.console import Console

import misstep
from misstep.api.frames import results_frame, summary_frame
from misstep.api.run import Run
from misstep.cli.report import show_report
from misstep.errors import BadInput, MisstepError
from misstep.evaluation.results import read_results
from misstep.evaluation.results_table import summary_rows
from misstep.evaluation.safe_page import clean
from misstep.plan.planner import Plan
from misstep.runner.workdir import Workdir
from misstep.stages.shell import run_stage
from tests.evaluation.conftest import Made, make_report
from tests.evaluation.world import ARMS, CONTROLS, World

Report = Callable[..., Made]

SMALL: dict[str, Any] = {"test_problems": 120, "negatives": 60, "bootstrap": 150}
HOSTILE = "</pre></script><script>alert(1)</script>\"'&amp;<!-- ]]> {{ 7*7 }} $\\frac{1}{0}$ \x00\x1b\u202e http://evil.example/"


def element(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))


def words(html: str) -> str:
    """The page's text without style sheet and pictures, on one line."""
    root = element(html)
    body = root.find("body")
    assert body is not None
    for parent in list(body.iter()):
        for child in list(parent):
            if child.tag == "svg":
                parent.remove(child)
    return re.sub(r"\s+", " ", "".join(body.itertext()))


def test_the_page_is_well_formed_and_needs_nothing_from_outside(report: Report) -> None:
    html = report(**SMALL).html
    root = element(html)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert Counter(ids).most_common(1)[0][1] == 1
    for e in root.iter():
        assert e.tag not in {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
        for name, value in e.attrib.items():
            assert not name.startswith("on")
            if name in {"href", "src", "{http://www.w3.org/1999/xlink}href"}:
                assert value[1:] in ids and value.startswith("#")
        assert re.search(r"url\((?!#)|@import|expression", f"{e.get('style')} {e.text}") is None
    assert "://" not in html
    assert len(list(root.iter("svg"))) == 6  # two for wide and narrow screens, two for both


def test_the_same_inputs_give_the_same_bytes(report: Report, tmp_path: Path) -> None:
    once, again = report(**SMALL), make_report(tmp_path, **SMALL)
    assert once.html == again.html
    assert once.json == again.json
    assert once.csv == again.csv


def test_hostile_text_is_shown_and_does_nothing(report: Report) -> None:
    html = report(**SMALL, hostile=HOSTILE).html
    plain = report(**SMALL).html
    root = element(html)
    assert Counter(e.tag for e in root.iter()) == Counter(e.tag for e in element(plain).iter())
    assert "<script" not in html
    assert "49" not in html.partition("<body>")[2].partition("Wrong solutions")[2].partition("Training")[0]
    assert "\x00" not in html and "\u202e" not in html
    shown = words(html)
    assert "</pre></script><script>alert(1)</script>\"'&amp;<!-- ]]> {{ 7*7 }} $\\frac{1}{0}$" in shown


def test_very_long_text_is_cut() -> None:
    assert clean("x" * 10_000).endswith("(6,000 more characters)")
    assert clean("a\r\nb\tc") == "a\nb\tc"


def test_the_page_says_what_was_found(report: Report) -> None:
    made = report(**SMALL)
    text = words(made.html)
    results = made.results
    assert results.conclusion in text
    assert results.headline.startswith("Learning from its own mistakes, credited step by step (dpo-step), made 250")
    assert text.index(results.headline) < text.index(results.conclusion)
    for note in results.notes:
        assert note in text
    for cell in results.cells:
        assert f"{100 * cell.accuracy.value:.1f}%" in text
    assert results.conclusion.count(". ") <= 6
    assert "Against random pairs (dpo-random)" in results.conclusion


def test_what_the_data_lost_is_said_where_it_is_much(report: Report) -> None:
    made = report(**SMALL, bad_golds=100)
    text = words(made.html)
    rows = made.results.problems.rows["train"]
    lost = f"100 train problems of {rows:,} rows had no final answer that responses can be checked against"
    assert f"{lost}, and were left out: 99 a sentence, 1 empty." in text
    assert "2 train rows had no question and were left out." in text
    assert "1 train row repeats a problem with an answer that is spelled otherwise; the first was kept." in text
    assert "In 5 train rows the system turn is left out." in text
    assert "6 training problems came without a solution of the teacher" in text
    assert "Without a final answer that responses can be checked against, of train: 99 a sentence, 1 empty." in text
    few = words(report(**SMALL).html)
    assert lost[4:] not in few and "of train: 1 a sentence, 1 empty." in few


def test_results_hold_every_figure_with_its_interval(report: Report) -> None:
    made = report(**SMALL)
    results = made.results
    assert read_results(results.to_json()) == results
    assert results.to_json() == made.json
    assert len(results.points) == 20 and len(results.cells) == 10
    for estimates in [c.pass_at for c in results.cells] + [p.pass_at for p in results.points]:
        assert list(estimates) == [1, 4]
        assert all(e.low <= e.value <= e.high for e in estimates.values())
    assert results.fit is not None and results.fit.b.low <= 0.16 <= results.fit.b.high
    assert [c.size for c in results.credit] == [250, 250]
    assert all(c.pits + sum(c.no_pit.values()) == c.negatives for c in results.credit)
    assert json.loads(made.json)["schema_version"] == "misstep.dev/results/v1"


def test_csv_has_a_row_for_each_grid_point(report: Report) -> None:
    made = report(**SMALL)
    rows = list(csv.DictReader(io.StringIO(made.csv)))
    assert [(r["arm"], int(r["size"]), int(r["seed"])) for r in rows] == [
        (p.arm, p.size, p.seed) for p in made.results.points
    ]
    for row, point in zip(rows, made.results.points, strict=True):
        assert float(row["pass_at_1"]) == pytest.approx(point.pass_at[1].value, abs=1e-6)
        assert int(row["correct"]) == point.answers.correct
        assert bool(row["interpolated_factor"]) != bool(row["interpolated_reason"])


def test_the_terminal_table(report: Report) -> None:
    rows = summary_rows(report(**SMALL).results)
    assert [(r.arm, r.size) for r in rows][:3] == [("sft", "125"), ("sft", "250"), ("sft", "500")]
    assert rows[0].interpolated == rows[0].fitted == rows[0].error_ratio == "–"
    step = next(r for r in rows if r.arm == "dpo-step")
    assert re.fullmatch(r"\d\d\.\d ± \d\d?\.\d%", step.accuracy)
    assert re.fullmatch(r"(> )?\d[\d.]*x", step.interpolated)


def test_the_terminal_begins_with_the_headline(tmp_path: Path) -> None:
    world = World(tmp_path, **TINY)
    stage = world.report_stage()
    run_stage(stage)
    text = io.StringIO()
    run = Run(Plan(experiment="grid", stages=(stage,)), Workdir(tmp_path / "shown"), world.store)
    show_report(run, Console(file=text, width=2000))
    results = read_results((tmp_path / "shown" / "results.json").read_text("utf-8"))
    assert results.headline
    lines = [line.strip() for line in text.getvalue().splitlines() if line.strip()]
    assert (lines[0], lines[1].split()[0]) == (results.headline, "arm")
    assert lines.index(results.conclusion) > 1


def test_the_table_for_pandas_is_that_of_the_csv_file(report: Report) -> None:
    made = report(**SMALL)
    frame = results_frame(made.results)
    rows = list(csv.DictReader(made.csv.splitlines()))
    assert list(frame.columns) == list(rows[0])
    for (_, row), written in zip(frame.iterrows(), rows, strict=True):
        assert (row["arm"], row["size"], row["seed"]) == (written["arm"], int(written["size"]), int(written["seed"]))
        assert row["pass_at_1"] == pytest.approx(float(written["pass_at_1"]), abs=1e-6)
        assert str(row["trained"]).lower() == written["trained"]
        assert [pandas.isna(row[name]) for name in frame.columns] == [written[name] == "" for name in frame.columns]
    assert str(frame["pairs"].dtype) == "Int64"  # whole, though SFT has none
    cells = summary_frame(made.results)
    assert list(zip(cells["arm"], cells["size"], strict=True)) == [(c.arm, c.size) for c in made.results.cells]
    assert list(cells["pass_at_1"]) == [cell.accuracy.value for cell in made.results.cells]


ROUNDS: dict[str, Any] = {
    "test_problems": 60,
    "negatives": 30,
    "bootstrap": 150,
    "seeds": (0, 1, 2),
    "sft_sizes": (125, 250),
    "arms": (
        ("sft", "sft", None),
        ("again", "dpo", "shared-prefix"),
        ("again-random", "dpo", "random"),
        ("oracle", "dpo", "oracle-pit"),
        ("placebo", "dpo", "placebo-cut"),
        ("random", "dpo", "random"),
        ("step", "dpo", "shared-prefix"),
    ),
    "from_arm": {"again": "step", "again-random": "step"},
}


def test_credited_arms_are_compared_with_those_that_start_where_they_do_or_at_sft(report: Report) -> None:
    results = report(**ROUNDS).results
    assert [(c.arm, c.against) for c in results.comparisons] == [
        ("again", "again-random"),
        ("again", "placebo"),
        ("again", "random"),
        ("step", "placebo"),
        ("step", "random"),
    ]
    assert "(step)" in results.headline and "random pairs (random)" in results.headline
    assert {p.arm: p.from_arm for p in results.points if p.from_arm} == ROUNDS["from_arm"]
    accuracy = {(p.arm, p.seed): p.pass_at[1].value for p in results.points}
    for c in results.comparisons:
        expected = {seed: accuracy[c.arm, seed] - accuracy[c.against, seed] for seed in (0, 1, 2)}
        assert c.by_seed == pytest.approx(expected, abs=2e-6)
        assert sum(c.by_seed.values()) / 3 == pytest.approx(c.difference.value, abs=2e-6)


def test_an_arm_that_lacks_a_seed_is_named_and_compared_on_the_seeds_that_both_have(report: Report) -> None:
    results = report(**{**ROUNDS, "missing": (("step", 0), ("step", 2), ("again", 0))}).results
    seeds = {(c.arm, c.against): list(c.by_seed) for c in results.comparisons}
    assert (seeds["step", "random"], seeds["again", "random"]) == ([1], [1, 2])
    (note,) = [note for note in results.notes if note.startswith("Only one seed")]
    assert note.startswith("Only one seed: step at 250 problems.")
    assert any(note.startswith("3 seeds: a 95% interval reaches 4.3 standard errors") for note in results.notes)


def test_the_headline_goes_into_the_manifest(report: Report) -> None:
    made = report(**SMALL)
    assert made.summary["headline"] == made.results.headline
    assert made.summary["conclusion"] == made.results.conclusion
    assert len(made.summary["cells"]) == len(made.results.cells)


def test_reading_results_loads_no_heavy_library() -> None:
    code = (
        "import sys; import misstep.evaluation.results_table; "
        "print([m for m in ('numpy', 'pyarrow', 'matplotlib', 'scipy', 'jinja2') if m in sys.modules])"
    )
    env = os.environ | {"PYTHONPATH": str(Path(misstep.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "[]"


TWO_ARMS = (("sft", "sft", None), ("rft", "rft", None), ("dpo-step", "dpo", "shared-prefix"))
TINY: dict[str, Any] = {
    "seeds": (0,),
    "sft_sizes": (12, 24),
    "method_sizes": (24,),
    "test_problems": 24,
    "samples": 2,
    "pass_at": (1, 2),
    "negatives": 16,
    "arms": TWO_ARMS,
    "bootstrap": 150,
}


def test_nothing_solved(report: Report) -> None:
    made = report(**TINY, solved=0.0)
    text = words(made.html)
    assert "No model solved any of the 24 test problems" in text
    assert "there are no positives, so nothing for RFT to learn and no pairs" in text
    assert "rft at 24 problems: not trained, no positives" in text
    assert "Nothing was trained here: no pairs." in text
    assert "No pits: the policy solved none of the problems that it has negatives of" in text
    assert "0.0 to 13.8%" in text  # nothing right in 24 problems is not nothing for certain
    assert all(c.worth.interpolated.relation is None for c in made.results.cells)
    assert "The data carry no factor" in text


def test_few_problems_one_seed_and_two_sizes(report: Report) -> None:
    made = report(**TINY, solved=0.6)
    text = words(made.html)
    assert "There are only 24 test problems: one of them is 4.2 points" in text
    assert "One seed: intervals of accuracies cover the choice of test problems" in text
    assert "Only 24 test problems: too few to tell errors apart" in text
    more = report(**{**TINY, "test_problems": 60}, solved=0.6)
    assert "SFT was run at 2 sizes only: a curve needs at least 3." in words(more.html)


def test_no_negatives(report: Report) -> None:
    made = report(**{**TINY, "negatives": 0})
    text = words(made.html)
    assert "No negatives: no sample is a wrong answer that ended by itself (24 problems, seed 0)." in text
    assert "dpo-step at 24 problems: not trained, no pairs" in text
    assert "Wrong solutions to read" not in text


def test_sft_alone(report: Report) -> None:
    made = report(**{**TINY, "arms": TWO_ARMS[:1], "sft_sizes": (12, 24), "method_sizes": ()})
    text = words(made.html)
    assert "There is no method other than plain fine-tuning in this experiment." in text
    assert "Where solutions go wrong" not in text
    assert made.results.comparisons == ()


def test_controls_say_what_they_tell_of_credit(report: Report) -> None:
    made = report(**SMALL, arms=ARMS + CONTROLS)
    text, points = words(made.html), {(p.arm, p.seed): p for p in made.results.points if p.size == 250}
    placebo = [points["dpo-placebo", seed].pairs for seed in (0, 1)]
    oracle = [points["dpo-oracle", seed].pairs for seed in (0, 1)]
    assert all(pairs and pairs.cut_at_pit for pairs in placebo) and all(pairs and pairs.agreement for pairs in oracle)
    at_pit, no_other, cuts = (
        sum(getattr(pairs, name) for pairs in placebo) for name in ("cut_at_pit", "no_other_cut", "pairs")
    )
    assert f"dpo-placebo: {at_pit} of {cuts} random cuts fell on the pit, {no_other} of them because no pair" in text
    counts = sum((Counter(pairs.agreement) for pairs in oracle if pairs), Counter[str]())
    exact, total = counts["pit_is_oracle"], counts.total()
    assert f"dpo-oracle: credit’s pit is the true first error in {exact} of {total} credited solutions" in text
    assert "it lies before it in 4 and after it in 6" in text
    assert "placebo of step DPO" in text and "the true first wrong step" in text
    step = points["dpo-step", 0].pairs
    assert step is not None and step.cut_at_pit is None and step.agreement == {}


def test_without_a_credited_method_there_are_no_examples_of_credit(report: Report) -> None:
    text = words(report(**SMALL, arms=(ARMS[0], *CONTROLS)).html)
    assert "What credit cost" in text and "fell on the pit" in text
    assert "Wrong solutions to read" not in text


def test_one_size_and_methods_only_where_credit_is_not_used(report: Report) -> None:
    made = report(**{**TINY, "arms": TWO_ARMS[:2], "sft_sizes": (24,)}, solved=0.6)
    text = words(made.html)
    assert "No arm uses credit." in text
    assert len(list(element(made.html).iter("svg"))) == 2


def test_examples_are_of_different_problems_and_as_many_as_asked_for(report: Report) -> None:
    for count in (0, 5):
        root = element(report(**{**TINY, "examples": count}, solved=0.6).html)
        questions = [e.text for e in root.iter("pre") if e.get("class") == "question"]
        assert len(set(questions)) == len(questions) == count


def test_examples_show_the_pit_where_q_falls_to_zero_and_what_was_preferred(report: Report) -> None:
    root = element(report(**{**TINY, "examples": 5}, solved=0.6).html)
    articles = list(root.iter("article"))
    assert len(articles) == 5
    for article in articles:
        steps = list(article.iter("li"))
        q = [float(next(v.text or "" for v in e.iter("span") if v.get("class") == "value")) for e in steps]
        pits = [i for i, e in enumerate(steps) if e.get("class") == "pit"]
        assert len(pits) == 1
        assert q[pits[0]] == 0.0 and min(q[: pits[0]]) > 0.0
        # Solutions that a pair was made of come first, and there are enough of them.
        assert [e.text for e in article.iter("pre") if e.get("class") == "chosen"] != []


def test_too_few_resamples_are_refused(tmp_path: Path) -> None:
    stage = World(tmp_path, **{**TINY, "bootstrap": 10}).report_stage()
    with pytest.raises(BadInput, match="100 or more"):
        run_stage(stage)


def test_points_tested_on_other_problems_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path, **TINY)
    stage = world.report_stage()
    other = World(tmp_path, **{**TINY, "test_problems": 23})
    point = world.params().grid[0]
    stage = stage.model_copy(update={"inputs": {**stage.inputs, "score_1": other.score(999, point)}})
    with pytest.raises(MisstepError, match="other problems than the rest"):
        run_stage(stage)


def test_the_steps_that_each_model_has_had_are_told(report: Report) -> None:
    made = report(**SMALL)
    point = next(p for p in made.results.points if (p.arm, p.size, p.seed) == ("sft", 250, 0))
    # Sixteen epochs of 250 rows in batches of 64; the second of the scorings, after 8 epochs, was the best.
    assert (point.training.steps, point.training.kept_steps) == (62, 31)
    training = next(s for s in element(made.html).iter("section") if s.findtext("h2") == "Training")
    cells = [[" ".join("".join(e.itertext()).split()) for e in row.iter("td")] for row in training.iter("tr")]
    assert [row[:8] for row in cells if row[:3] == ["sft", "250", "0"]] == [
        ["sft", "250", "0", "250", "none", "31 of 62", "8", "4, 8, 16"]
    ]
    rows = list(csv.DictReader(io.StringIO(made.csv)))
    found = {(row["arm"], row["size"], row["seed"]): row["optimiser_steps"] for row in rows}
    assert found["sft", "250", "0"] == "31"


def test_models_that_were_hardly_trained_are_named(report: Report) -> None:
    made = report(**{**SMALL, "negatives": 12})
    (note,) = [note for note in made.results.notes if "optimiser steps" in note]
    few = {(p.arm, p.size): p.training.kept_steps for p in made.results.points if p.training.kept_steps < 10}
    assert set(few) == {(f"dpo-{name}", 250) for name in ("random", "edit-distance", "step", "step-whole")}
    for arm, size in few:
        assert f"{arm} at {size} problems (1)" in note
    assert "sft" not in note
    assert not [note for note in report(**SMALL, method_sizes=()).results.notes if "optimiser steps" in note]


def test_dropped_rows_are_told(report: Report) -> None:
    made = report(**SMALL, dropped_percent=4)
    (note,) = [note for note in made.results.notes if "dropped" in note]
    assert "sft at 125 problems (3.8%)" in note
    assert "5 too long, 7 not correct" in words(made.html)
    assert not [note for note in report(**SMALL, dropped_percent=1).results.notes if "sft at 2,000 problems" in note]
    assert not [note for note in report(**SMALL).results.notes if "dropped" in note]


def test_what_the_models_were_shown(report: Report) -> None:
    root = element(report(**SMALL).html)
    (section,) = [s for s in root.iter("section") if (s.findtext("h2") or "") == "What the model was shown"]
    arms = ["".join(e.itertext()).strip() for e in section.iter("summary")]
    assert arms[0] == "sft, 125 problems, seed 0"
    assert [arm.split(",")[0] for arm in arms] == [
        "sft", "rft", "dpo-random", "dpo-edit-distance", "dpo-step", "dpo-step-whole",
    ]  # fmt: skip
    first, last = section.findall("details")[0], section.findall("details")[-1]
    assert len([e for e in first.iter("div") if e.get("class") == "row"]) == 3
    marked = [e.text or "" for e in last.iter("span") if e.get("class") == "loss"]
    assert [text.split(":")[0] for text in marked] == ["chosen", "rejected"] * 3
    assert all(text.endswith("<eos>") for text in marked)
    plain = [e.text or "" for e in first.iter("span") if e.get("class") is None]
    assert len(plain) == 3 and all(text.startswith("\nstart") for text in plain)
