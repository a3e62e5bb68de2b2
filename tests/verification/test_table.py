"""Judging a user's file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from misstep.errors import BadInput
from misstep.terms.verdict import VERIFIER_VERSION, Verdict
from misstep.verification.extract import AnswerFormat
from misstep.verification.table import verify_file
from tests.verification.data import rows

ROWS: list[dict[str, Any]] = [
    {"id": 1, "out": "#### 18", "answer": "18", "extra": {"é": [1.50, None]}},
    {"id": 2, "out": "#### 17", "answer": 18, "extra": None},
    {"id": 3, "out": r"so \boxed{(x+1)^2}", "answer": r"Thus \boxed{x^2+2x+1}", "extra": "ü"},
    {"id": 4, "out": None, "answer": "18", "extra": ""},
    {"id": 5, "out": "I do not know", "answer": "18", "extra": ""},
    {"id": 6, "out": "#### 0.10", "answer": 0.1, "extra": ""},
]
EXPECTED = ["correct", "wrong", "correct", "unparsable", "unparsable", "correct"]


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in records), encoding="utf-8")
    return path


def write_parquet(path: Path) -> Path:
    table = pa.table({"id": [row["id"] for row in ROWS], "out": [row["out"] for row in ROWS]})
    pq.write_table(table.append_column("answer", pa.array([str(row["answer"]) for row in ROWS])), path)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_jsonl_keeps_its_rows_and_gains_columns(tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    counts = verify_file(source, "out", "answer", out)
    assert counts == Counter(map(Verdict, EXPECTED))
    written = read(out)
    assert [row["verdict"] for row in written] == EXPECTED
    assert [row["extracted"] for row in written] == ["18", "17", "(x+1)^2", None, None, "0.10"]
    assert {row["verifier"] for row in written} == {VERIFIER_VERSION}
    assert [{k: row[k] for k in ROWS[0]} for row in written] == ROWS
    before, after = source.read_bytes().splitlines(), out.read_bytes().splitlines()
    assert all(new.startswith(old[:-1]) for old, new in zip(before, after, strict=True))
    assert list(tmp_path.iterdir()) == [source, out] or set(tmp_path.iterdir()) == {source, out}


def test_parquet_keeps_its_columns(tmp_path: Path) -> None:
    source, out = write_parquet(tmp_path / "in.parquet"), tmp_path / "out.parquet"
    assert verify_file(source, "out", "answer", out) == Counter(map(Verdict, EXPECTED))
    table = pq.read_table(out)
    assert table.column_names == ["id", "out", "answer", "verdict", "extracted", "verifier"]
    assert table["verdict"].to_pylist() == EXPECTED
    assert table.select(["id", "out", "answer"]).equals(pq.read_table(source))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for source in (write_jsonl(tmp_path / "in.jsonl", ROWS), write_parquet(tmp_path / "in.parquet")):
        outs = [tmp_path / f"{n}{source.suffix}" for n in (1, 2)]
        for out in outs:
            verify_file(source, "out", "answer", out, workers=2)
        assert outs[0].read_bytes() == outs[1].read_bytes()


def test_official_files_as_they_are(tmp_path: Path) -> None:
    for name, file, column, answer_format in (
        ("gsm8k", "test.jsonl", "answer", AnswerFormat.HASH),
        ("math", "test500.jsonl", "solution", AnswerFormat.BOXED),
    ):
        records = rows(name, file)
        source = write_jsonl(tmp_path / f"{name}.jsonl", records)
        counts = verify_file(source, column, column, tmp_path / f"{name}.out.jsonl", answer_format)
        assert counts == {Verdict.CORRECT: len(records)}


def test_half_a_surrogate_pair_survives(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"out": "\\\\boxed{\\ud800}", "answer": "18"}\n')
    verify_file(source, "out", "answer", tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl")[0]["extracted"] == "\ud800"


@pytest.mark.parametrize(
    ("response", "gold", "message"),
    [
        ("output", "answer", "--response: output.*has no such column; its columns are: id, out, answer"),
        ("out", "gold", "--gold: gold.*columns are: id, out, answer"),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_missing_column_is_named_with_those_that_exist(
    tmp_path: Path, suffix: str, response: str, gold: str, message: str
) -> None:
    source = tmp_path / f"in{suffix}"
    write_jsonl(source, ROWS) if suffix == ".jsonl" else write_parquet(source)
    with pytest.raises(BadInput, match=message):
        verify_file(source, response, gold, tmp_path / f"out{suffix}")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"out": "#### 1", "answer": ', r"in.jsonl, line 3: \{.*This is not JSON"),
        ("[1, 2]", "in.jsonl, line 3.*must be a JSON object"),
        ('{"out": "#### 1"}', "--gold: answer. .*in.jsonl, line 3 has no such column; its columns are: out"),
        ('{"out": ["#### 1", "#### 2"], "answer": "1"}', "--response: out.*not text"),
        ('{"out": "x", "answer": {"a": 1}}', "--gold: answer.*not text"),
        ('{"out": "x", "answer": "1", "verdict": ""}', "FILE: verdict.*already has a column"),
        ('{"out": "\xff"', "line 3"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'{"out": "#### 1", "answer": "1"}\n\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(BadInput, match=message) as raised:
        verify_file(source, "out", "answer", tmp_path / "out.jsonl")
    assert raised.value.exit_code == 64
    assert list(tmp_path.iterdir()) == [source]


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)
    existing = tmp_path / "there.jsonl"
    existing.write_text("precious")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    truncated = tmp_path / "truncated.parquet"
    truncated.write_bytes(write_parquet(tmp_path / "whole.parquet").read_bytes()[:-20])
    for path, out, message in [
        (tmp_path / "absent.jsonl", tmp_path / "o.jsonl", "FILE: .*no such file"),
        (tmp_path, tmp_path / "o.jsonl", "FILE: .*ends in"),
        (tmp_path / "in.csv", tmp_path / "o.jsonl", "FILE: .*ends in .jsonl or .parquet"),
        (source, tmp_path / "o.csv", "--out: .*ends in"),
        (source, tmp_path / "o.parquet", "--out: .*suffix of the input"),
        (source, existing, "--out: .*already exists"),
        (source, source, "--out: .*already exists"),
        (source, tmp_path / "nowhere" / "o.jsonl", "--out: .*Cannot write there: No such file"),
        (source, source / "o.jsonl", "--out: .*Cannot write there: Not a directory"),
        (broken, tmp_path / "o.parquet", "FILE: .*cannot be read as Parquet"),
        (truncated, tmp_path / "o.parquet", "FILE: .*cannot be read as Parquet"),
    ]:
        with pytest.raises(BadInput, match=message):
            verify_file(path, "out", "answer", out)
    assert existing.read_text() == "precious"
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS * 500)
    code = (
        "import resource, signal, sys; from pathlib import Path; from misstep.errors import BadInput\n"
        "from misstep.verification.table import verify_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: verify_file(Path(sys.argv[1]), 'out', 'answer', Path(sys.argv[2]))\n"
        "except BadInput as error: print(error)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "services")}
    ran = subprocess.run(
        [sys.executable, "-c", code, source, tmp_path / "out.jsonl"], env=env, capture_output=True, text=True
    )
    assert "--out" in ran.stdout and "Cannot write there: File too large" in ran.stdout, ran
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, suffix: str) -> None:
    count, block = 200_000, 10_000
    text = "She sells 16 - 3 - 4 = 9 eggs a day. " * 8
    source = tmp_path / f"in{suffix}"
    if suffix == ".jsonl":
        with source.open("w") as file:
            for n in range(count):
                file.write(json.dumps({"out": f"{text}{n}\n#### {n}", "answer": str(n)}) + "\n")
    else:
        schema = pa.schema([("out", pa.string()), ("answer", pa.string())])
        with pq.ParquetWriter(source, schema) as writer:
            for start in range(0, count, block):
                numbers = range(start, start + block)
                part = {"out": [f"{text}{n}\n#### {n}" for n in numbers], "answer": [str(n) for n in numbers]}
                writer.write_table(pa.table(part, schema=schema))
    code = (
        "import re, sys; from pathlib import Path; from misstep.verification.table import verify_file\n"
        "counts = verify_file(Path(sys.argv[1]), 'out', 'answer', Path(sys.argv[2]))\n"
        # Not getrusage: its peak is inherited from the process that forked this one.
        "peak = re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())\n"
        "print(counts['correct'], int(peak[1]) // 1024)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "services")}
    ran = subprocess.run(
        [sys.executable, "-c", code, source, tmp_path / f"out{suffix}"], env=env, capture_output=True, text=True
    )
    correct, mebibytes = map(int, ran.stdout.split())
    assert correct == count
    assert mebibytes < 300


NESTED: list[dict[str, Any]] = [
    {
        "chat": [{"role": "user", "content": "?"}, {"role": "assistant", "content": f"#### {n}"}],
        "output": {"text": f"#### {n}"},
        "reward_model": {"ground_truth": str(n)},
        "list": [str(n)],
    }
    for n in range(3)
]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("response", "gold"),
    [("output.text", "reward_model.ground_truth"), ("chat", "list"), ("chat.1.content", "list.0")],
)
def test_columns_inside_others_and_chats(tmp_path: Path, suffix: str, response: str, gold: str) -> None:
    source = tmp_path / f"in{suffix}"
    if suffix == ".jsonl":
        write_jsonl(source, NESTED)
    else:
        pq.write_table(pa.Table.from_pylist(NESTED), source)
    assert verify_file(source, response, gold, tmp_path / f"out{suffix}") == {Verdict.CORRECT: 3}
    with pytest.raises(BadInput, match=r"--response: output\.txt.*its columns are: chat, output.text, reward_model"):
        verify_file(source, "output.txt", gold, tmp_path / f"other{suffix}")
    with pytest.raises(BadInput, match=r"--response: chat\.7\.content"):
        verify_file(source, "chat.7.content", gold, tmp_path / f"other{suffix}")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.jsonl", json.dumps(ROWS).encode(), "one JSON array.*python3 -c"),
        ("in.json", json.dumps(ROWS).encode(), "one JSON array.*python3 -c"),
        ("in.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer.*lfs pull"),
        ("in.jsonl", b"\x1f\x8b123", "gzip-compressed.*gunzip"),
        ("in.csv", b"out,answer\n1,2\n", "CSV.*python3 -c"),
        ("in.parquet", b"out,answer\n1,2\n", "CSV.*python3 -c"),
        ("in.jsonl", b'{"out": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1.*recursion"),
    ],
)
def test_a_file_of_another_kind_is_named_with_the_fix(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=said):
        verify_file(tmp_path / name, "out", "answer", (tmp_path / "out").with_suffix(Path(name).suffix))
