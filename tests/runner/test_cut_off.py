"""What the token limit cuts off is neither positive nor negative: followed through a whole real experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from misstep.artifacts.inspect import ls
from misstep.artifacts.reader import Reader
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.runner.small import YAML, misstep

LIMIT = 19
"""Of tokens; a good part of all responses are longer."""


class Finished:
    """The artifacts of a run, by the names of their stages."""

    def __init__(self, folder: Path) -> None:
        store = open_store(Storage(uri=f"file://{folder}/.misstep/store"))
        self.keys = {info.name: info.key for info in ls(store)}
        self.reader = Reader(store, folder / "read")

    def rows(self, name: str, table: str) -> list[dict[str, Any]]:
        return self.reader.table(self.keys[name], table).to_pylist()

    def summary(self, name: str) -> dict[str, Any]:
        return self.reader.manifest(self.keys[name]).summary


@pytest.mark.slow
def test_cut_off_responses_are_neither_positive_nor_negative_anywhere(tmp_path: Path) -> None:
    text = YAML.replace("maxNewTokens: 48", f"maxNewTokens: {LIMIT}")
    assert text != YAML
    more = "    - {name: dpo-random, method: dpo, pairs: random}\n  resources:"
    (tmp_path / "small.yaml").write_text(text.replace("  resources:", more))
    done = misstep(tmp_path, "run", "small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    made = Finished(tmp_path)

    samples = made.rows("sample-d60-s0", "samples")
    cut = {(row["problem_id"], row["sample"]) for row in samples if row["finish_reason"] == "length"}
    assert 0.2 < len(cut) / len(samples) < 0.9
    assert all(len(row["token_ids"]) == LIMIT for row in samples if (row["problem_id"], row["sample"]) in cut)

    verdicts = {(row["problem_id"], row["sample"]): row for row in made.rows("verify-d60-s0", "verdicts")}
    assert {(verdicts[which]["verdict"], verdicts[which]["rule"]) for which in cut} == {("unparsable", "cut-off")}
    judged = [row["verdict"] for which, row in verdicts.items() if which not in cut]
    assert {"correct", "wrong"} <= set(judged)

    # RFT: every sample is a positive or counted with the reason why it is none; none that was cut is a positive.
    rft = made.summary("rft-d60-s0")
    assert rft["dropped"]["not-correct"] >= len(cut)
    assert rft["sources"]["own"] <= judged.count("correct")

    negatives = made.rows("credit-d60-s0", "negatives")
    assert negatives
    assert not cut & {(row["problem_id"], row["sample"]) for row in negatives}
    rollouts = made.rows("credit-d60-s0", "rollouts")
    assert {row["verdict"] for row in rollouts if row["finish_reason"] == "length"} == {"unparsable"}

    ids = {(row["problem_id"], tuple(row["token_ids"])) for row in samples if (row["problem_id"], row["sample"]) in cut}
    for name in ("pairs-dpo-step-d60-s0", "pairs-dpo-random-d60-s0"):
        pairs = made.rows(name, "pairs")
        assert pairs
        assert not cut & {(pair["problem_id"], pair["negative_sample"]) for pair in pairs}
        sides = {(pair["problem_id"], tuple(pair[side])) for pair in pairs for side in ("chosen_ids", "rejected_ids")}
        assert not ids & sides

    score = made.summary("score-sft-d60-s0")
    verified = made.rows("verify-test-sft-d60-s0", "verdicts")
    assert score["cut_off"] == sum(row["rule"] == "cut-off" for row in verified) > 0
    assert score["verdicts"]["unparsable"] == sum(row["verdict"] == "unparsable" for row in verified)
