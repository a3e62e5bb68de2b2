"""The problems stage on real data sets, through the real shell and store."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from misstep.artifacts.reader import Reader
from misstep.errors import BadInput
from misstep.plan.judging import judging
from misstep.plan.planner import plan, plan_search
from misstep.sources import resolve
from misstep.spec import load_experiment
from misstep.stages.shell import run_stage
from misstep.store.open import open_store
from tests.shared_data import shared_data


def ingest(
    folder: Path, problems: str, answer_format: str = "auto", search: str = ""
) -> tuple[pa.Table, dict[str, Any]]:
    """Run the stage of an experiment, or of its search where one is given."""
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model/config.json").write_text("{}")
    (folder / "e.yaml").write_text(f"""
apiVersion: misstep.dev/v1alpha1
kind: Experiment
metadata: {{name: e}}
spec:
  storage: {{uri: 'file://{folder}/store'}}
  problems: {problems}
  policy: {{model: {{path: model}}}}
  verification: {{answerFormat: {answer_format}}}
  training: {{sft: {{selection: {{problems: 5}}}}, rft: {{selection: {{problems: 3}}}}}}
{search}
""")
    experiment = load_experiment(folder / "e.yaml")
    externals = resolve(experiment)
    if search:
        stage = plan_search(experiment, externals, judging(experiment, externals))[0].stages[0]
    else:
        stage = plan(experiment, externals).stages[0]
    manifest = run_stage(stage).manifest
    assert manifest is not None
    reader = Reader(open_store(stage.storage), folder / "cache")
    return reader.table(stage.key, "problems"), dict(manifest.summary)


def test_gsm8k_whole(tmp_path: Path) -> None:
    table, summary = ingest(
        tmp_path, f"{{train: {{format: gsm8k, path: {shared_data('gsm8k')}}}, sizes: [64]}}", "hash"
    )
    assert summary["problems"]["test"] == 1319 and summary["problems"]["validation"] == 200
    assert summary["problems"]["train"] + summary["left_out_of_training"] + 200 == 7473
    assert summary["teacher_solutions"] == {"correct": summary["problems"]["train"]}
    assert not summary["bad_gold"] and len(set(table["problem_id"].to_pylist())) == table.num_rows


@pytest.mark.slow
def test_math_whole(tmp_path: Path) -> None:
    table, summary = ingest(tmp_path, f"{{train: {{format: math, path: {shared_data('math')}}}, sizes: [64]}}", "boxed")
    assert summary["problems"]["test"] >= 4990
    assert sum(summary["bad_gold"].values()) <= 10, summary["bad_gold_examples"]
    verdicts = Counter(table.filter(pa.compute.equal(table["split"], "train"))["solution_verdict"].to_pylist())
    assert verdicts["correct"] >= 0.999 * sum(verdicts.values()), verdicts


def test_strides_splits_are_disjoint(tmp_path: Path) -> None:
    source = "{format: strides, limit: %d}"
    table, summary = ingest(
        tmp_path, f"{{train: {source % 300}, validation: {source % 50}, test: {source % 60}, sizes: [64]}}", "hash"
    )
    assert summary["problems"] == {"test": 60, "train": 300, "validation": 50}
    assert summary["teacher_solutions"] == {"correct": 300}
    assert len(set(table["question"].to_pylist())) == 410


def test_solutions_that_never_reach_the_answer_stop_the_experiment(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(
            "".join(f'{{"question": "{split} {i}?", "answer": "{i}", "solution": "no"}}\n' for i in range(300))
        )
    source = f"{{format: table, path: {tmp_path}, columns: {{solution: solution}}}}"
    with pytest.raises(BadInput, match="no teacher solution reaches"):
        ingest(tmp_path, f"{{train: {source}, sizes: [64]}}", "hash")
    assert not list((tmp_path / "store").rglob("*.parquet"))


def of_split(table: pa.Table, split: str) -> list[str]:
    return table.filter(pa.compute.equal(table["split"], split))["question"].to_pylist()


def write(path: Path, names: list[str]) -> None:
    rows = [{"question": f"What is problem {name}?", "answer": f"so it is\n#### {i}"} for i, name in enumerate(names)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_searchs_problems_hold_no_test_problem_and_the_same_validation_problems(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [f"a{i}" for i in range(100)])
    write(tmp_path / "test.jsonl", [f"t{i}" for i in range(20)])
    source = f"{{train: {{format: gsm8k, path: {tmp_path}}}, holdOut: 12, sizes: [8]}}"
    main, _ = ingest(tmp_path, source)
    found, summary = ingest(tmp_path, source, search="  search: {problems: 30}")
    assert not of_split(found, "test") and not set(found["question"].to_pylist()) & set(of_split(main, "test"))
    assert summary["problems"] == {"train": 65, "validation": 35}  # 5 choose checkpoints, 30 judge
    assert set(of_split(main, "validation")) < set(of_split(found, "validation"))
    assert set(of_split(found, "train")) < set(of_split(main, "train"))


def test_a_search_reads_a_common_file_from_behind_the_test_problems(tmp_path: Path) -> None:
    write(tmp_path / "all.jsonl", [f"a{i}" for i in range(100)])
    given = f"format: gsm8k, path: '{tmp_path}/all.jsonl'"
    source = f"{{train: {{{given}, limit: 90}}, test: {{{given}, limit: 20}}, holdOut: 12, sizes: [8]}}"
    main, _ = ingest(tmp_path, source)
    found, summary = ingest(tmp_path, source, search="  search: {problems: 30}")
    assert summary["problems"] == {"train": 35, "validation": 35}
    assert not set(found["question"].to_pylist()) & set(of_split(main, "test"))
    assert set(found["question"].to_pylist()) == set(of_split(main, "train") + of_split(main, "validation"))
    assert set(of_split(main, "validation")) < set(of_split(found, "validation"))


def test_a_search_leaves_out_of_training_what_stands_in_a_problem_that_judges(tmp_path: Path) -> None:
    alike = "a ship that sails from the harbour at dawn with many barrels of salted fish and"
    write(tmp_path / "train.jsonl", [*(f"a{i}" for i in range(20)), f"{alike} bread", "a20"])
    write(tmp_path / "test.jsonl", ["t"])
    write(tmp_path / "validation.jsonl", [*(f"v{i}" for i in range(14)), f"{alike} wine"])
    source = (
        f"{{train: {{format: gsm8k, path: {tmp_path}}}, validation: {{format: gsm8k, path: {tmp_path}}}, sizes: [8]}}"
    )
    found, summary = ingest(tmp_path, source, search="  search: {problems: 10}")
    assert summary["problems"] == {"train": 21, "validation": 15}
    assert summary["left_out_of_training"] == 1
    assert not any(alike in question for question in of_split(found, "train"))


def test_too_few_validation_problems_for_a_search_are_said_with_the_number_needed(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [f"a{i}" for i in range(30)])
    write(tmp_path / "test.jsonl", ["t"])
    write(tmp_path / "validation.jsonl", [*(f"v{i}" for i in range(9)), "v1"])
    train = f"train: {{format: gsm8k, path: {tmp_path}}}"
    source = f"{{{train}, validation: {{format: gsm8k, path: {tmp_path}}}, sizes: [8]}}"
    with pytest.raises(
        BadInput, match=r"validation: 9 problems \(of 10 rows; dropped: 1 duplicates\)\. .* needs 10, th"
    ):
        ingest(tmp_path, source, search="  search: {problems: 5}")
    with pytest.raises(BadInput, match=r"holdOut: 35 of 30 training problems.* spec\.search\.problems: lower one of"):
        ingest(tmp_path, f"{{{train}, holdOut: 4, sizes: [8]}}", search="  search: {problems: 30}")
    with pytest.raises(BadInput, match=r"holdOut: 40 of 30 training problems .* Hold out fewer, or give a valid"):
        ingest(tmp_path, f"{{{train}, holdOut: 40, sizes: [8]}}", search="  search: {problems: 30}")
    found, _ = ingest(tmp_path, source, search="  search: {problems: 4}")
    assert len(of_split(found, "validation")) == 9


def cases(name: str) -> Path:
    path = shared_data("gsm8k").parents[1] / "cases" / "data" / name
    if not path.is_file():
        pytest.skip(f"no cases at {path}")
    return path


def of_case(folder: Path, name: str, source: str, more: str = "") -> tuple[pa.Table, dict[str, Any]]:
    """Ingest a file of cases, whose first 8 rows are the test."""
    given = f"path: '{cases(name)}', {source}"
    return ingest(folder, f"{{train: {{{given}}}, test: {{{given}, limit: 8}}, holdOut: 4, sizes: [8]{more}}}")


TABLE = "format: table, columns: "
NUMINA = TABLE + "{question: problem, answer: answer, solution: solution}"
METAMATH = TABLE + "{question: query, answer: response, solution: response, answerAfter: 'The answer is:'}"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("gsm8k_bom.jsonl", "format: gsm8k"),
        ("metamath.jsonl", METAMATH),
        ("list_answer.jsonl", TABLE + "{solution: solution}"),
        ("math500.jsonl", NUMINA),
        ("math500.jsonl", "format: math"),
        ("capital_columns.jsonl", "format: gsm8k, columns: {question: Question, answer: Answer}"),
    ],
)
def test_data_as_people_have_them_load_whole(tmp_path: Path, name: str, source: str) -> None:
    table, summary = of_case(tmp_path, name, source)
    assert summary["problems"] == {"test": 8, "train": 28, "validation": 4}
    assert summary["teacher_solutions"] == {"correct": 28}
    assert not summary["bad_gold"] and not summary["without_solution"]
    marks = any("<<" in solution for solution in table["solution"].to_pylist())
    assert marks == bool(summary["remarks"]) == ("list" in name), "they stay where a table has them, and that is said"


def test_golds_that_are_none_are_counted_with_their_reasons(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput,
        match=r"train \(its split test\): 1 of 8 problems have no final answer .*\(1 a proof is asked for\)",
    ):
        of_case(tmp_path, "numina15.jsonl", NUMINA)
    table, summary = of_case(tmp_path, "numina15.jsonl", NUMINA, ", badGoldPercent: 13")
    assert summary["bad_gold"] == {"test": 1, "train": 5}
    assert summary["bad_gold_reasons"]["train"] == {
        "a proof is asked for": 2,
        "a placeholder (such as N/A)": 2,
        "empty": 1,
    }
    assert 'train, line 9: "notfound" (a placeholder (such as N/A))' in summary["bad_gold_examples"]
    assert table.num_rows == 35 and summary["rows_dropped"] == 13


def test_problems_without_a_solution_are_kept_and_counted(tmp_path: Path) -> None:
    table, summary = of_case(tmp_path, "sol_null.jsonl", TABLE + "{solution: solution}")
    assert summary["without_solution"] == 3 and summary["teacher_solutions"] == {"correct": 25}
    train = table.filter(pa.compute.equal(table["split"], "train"))
    assert train["solution"].null_count == train["solution_verdict"].null_count == 3


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("orca.jsonl", TABLE + "{question: question}", "(8 a sentence)"),
        ("orca.jsonl", TABLE + "{solution: answer}", "columns.answer must name a column of final answers"),
        ("orca.jsonl", "format: gsm8k", '(8 without a line "#### ...")'),
        ("gsm8k_no_hash.jsonl", "format: gsm8k", 'A GSM8K answer is a solution that ends in a line such as "#### 18"'),
        ("metamath.jsonl", TABLE + "{question: query, answer: response}", 'answerAfter: "The answer is:"'),
        ("dapo_nested.jsonl", "format: table", "columns: {question: prompt, answer: reward_model.ground_truth}"),
    ],
)
def test_errors_about_golds_are_about_golds(tmp_path: Path, name: str, source: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        of_case(tmp_path, name, source)
    assert said in str(caught.value)
    assert "verification" not in str(caught.value) and "Fine-tuning" not in str(caught.value)


def test_a_nested_data_set_without_solutions_is_read_for_a_teacher(tmp_path: Path) -> None:
    source = TABLE + "{question: prompt, answer: reward_model.ground_truth}"
    given = f"path: '{cases('dapo_nested.jsonl')}', {source}"
    spec = f"{{train: {{{given}}}, test: {{{given}, limit: 8}}, holdOut: 4, sizes: [8]}}"
    table, summary = ingest(
        tmp_path, f"{spec}\n  teacher: {{kind: endpoint, endpoint: {{url: 'http://localhost:1/v1', model: m}}}}"
    )
    assert summary["problems"]["train"] == summary["without_solution"] == 28
    assert all(question.startswith("Tom number") for question in table["question"].to_pylist())
    with pytest.raises(BadInput, match=r"of 28 problems 28 without a solution.*Set columns\.solution"):
        ingest(tmp_path, spec)


def write_table(folder: Path, rows: list[tuple[str, str, str | None]]) -> str:
    lines = [json.dumps({"question": q, "answer": a, "solution": s}) + "\n" for q, a, s in rows]
    (folder / "train.jsonl").write_text("".join(lines))
    (folder / "test.jsonl").write_text('{"question": "held out?", "answer": "1", "solution": "#### 1"}\n')
    return f"{{train: {{format: table, path: {folder}, columns: {{solution: solution}}}}, holdOut: 0, sizes: [2]}}"


def test_what_is_wrong_with_solutions_is_counted_and_shown(tmp_path: Path) -> None:
    rows: list[tuple[str, str, str | None]] = [("a?", "1", "so\n#### 2"), ("b?", "2", None), ("c?", "3", "no idea")]
    with pytest.raises(BadInput) as caught:
        ingest(tmp_path, write_table(tmp_path, rows), "hash")
    said = str(caught.value)
    assert "of 3 problems 1 without a solution, 1 wrong, 1 undecided" in said
    assert 'Wrong: answer "1", solution ends in "so #### 2".' in said
    assert 'Undecided: answer "3", solution ends in "no idea".' in said
    rows = [("a?", "1", "The answer is 1."), ("b?", "2", "The answer is 2.")]
    with pytest.raises(BadInput, match="answerFormat is boxed, so a solution must end in a final answer in"):
        ingest(tmp_path, write_table(tmp_path, rows), "boxed")
    rows = [("a?", "1", "#### 3"), ("b?", "2", "#### 4")]
    with pytest.raises(BadInput, match="check that both columns belong together"):
        ingest(tmp_path, write_table(tmp_path, rows), "hash")


def test_of_several_rows_of_a_problem_the_first_correct_solution_is_taken(tmp_path: Path) -> None:
    rows: list[tuple[str, str, str | None]] = [
        ("a?", "1", "#### 2"),
        ("a?", "1", "none"),
        ("a?", "1", "right\n#### 1"),
        ("a?", "1", "later\n#### 1"),
        ("b?", "2", "#### 3"),
        ("b?", "2", "#### 4"),
    ]
    table, summary = ingest(tmp_path, write_table(tmp_path, rows), "hash")
    kept = {row["question"]: (row["solution"], row["solution_verdict"]) for row in table.to_pylist()}
    assert kept["a?"] == ("right\n#### 1", "correct") and kept["b?"] == ("#### 3", "wrong")
    assert summary["solutions_from_later_rows"] == 1 and summary["duplicates"] == {"train": 4}
    assert summary["teacher_solutions"] == {"correct": 1, "wrong": 1}


def test_half_a_character_is_named_by_its_line(tmp_path: Path) -> None:
    source = write_table(tmp_path, [("a?", "1", "#### 1"), ("b\ud83d?", "2", "#### 2")])
    with pytest.raises(
        BadInput, match=r"columns.question: column question .* half a character \(\\ud83d\) at .*line 2"
    ):
        ingest(tmp_path, source)


def test_numbers_of_32_bits_and_bytes_of_parquet_are_read_as_written(tmp_path: Path) -> None:
    numbers = [0.1, 17.1, 3.0, None, float("nan"), 2.5]
    table = pa.table(
        {
            "question": pa.array([f"{n}?".encode() for n in range(6)], pa.binary()),
            "answer": pa.array(numbers, pa.float32()),
            "solution": [f"#### {number}" for number in numbers],
        }
    )
    for split, part in (("train", table), ("test", table.slice(5))):
        pq.write_table(part, tmp_path / f"{split}.parquet")
    source = f"{{format: table, path: {tmp_path}, columns: {{solution: solution}}}}"
    found, _ = ingest(tmp_path, f"{{train: {source}, holdOut: 0, sizes: [2], badGoldPercent: 40}}", "hash")
    train = found.filter(pa.compute.equal(found["split"], "train"))
    assert train["gold"].to_pylist() == ["0.1", "17.1", "3"]
    assert train["question"].to_pylist() == ["0?", "1?", "2?"]


def test_where_answers_are_missing_the_column_that_has_them_is_named(tmp_path: Path) -> None:
    lines = [{"question": f"{n}?", "answer": None, "solution": f"so\n#### {n}"} for n in range(9)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(text.replace("?", f" in {split}?"))
    with pytest.raises(BadInput, match=r"9 empty.*Write in .*: format: gsm8k, columns: \{answer: solution\}"):
        ingest(tmp_path, f"{{train: {{format: table, path: {tmp_path}}}, sizes: [2]}}")


def test_what_data_say_does_not_reach_the_terminal_as_commands(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        ingest(tmp_path, write_table(tmp_path, [("a?", "see \x1b[2J solution", "#### 1")]))
    assert "\ufffd[2J" in str(caught.value) and "\x1b" not in str(caught.value)
    with pytest.raises(BadInput) as caught:
        ingest(tmp_path, f"{{train: {{format: gsm8k, path: {write_names(tmp_path)}}}, sizes: [2]}}")
    assert "columns are: \ufffd[31mq" in str(caught.value)


def write_names(folder: Path) -> Path:
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps({"\x1b[31mq": split, "b": "1"}) + "\n")
    return folder
