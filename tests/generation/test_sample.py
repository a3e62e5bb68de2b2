"""The sample stage, in the real shell of stages and a real store, on the quickstart's base model."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.artifacts.manifest import commit
from misstep.artifacts.output import Output
from misstep.artifacts.reader import Reader
from misstep.artifacts.records import PROBLEMS
from misstep.errors import BadInput
from misstep.generation.seeds import permutation, sample_seed, train_subset
from misstep.generation.text import decode
from misstep.generation.transformers_engine import load_engine
from misstep.plan import params as p
from misstep.plan.frozen import External, FrozenStage, Resources, stage_key
from misstep.plan.kinds import StageKind
from misstep.problems.strides import Split, generate
from misstep.stages.registry import REGISTRY
from misstep.stages.shell import run_stage
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.artifacts.making import finish_block
from tests.generation.tiny import decoding

BASE = Path(__file__).parents[2] / "examples" / "quickstart-base"
TOO_LONG = "start 10: " + "1a " * 80 + "?"
SOURCE = p.SourceParams(format="strides", generator_seed=0)
PROBLEMS_PARAMS = p.ProblemsParams(
    train=SOURCE,
    test=SOURCE,
    validation=None,
    held_out=0,
    answer_format="hash",
    overlap_ngram=8,
    bad_gold_percent=1,
    verifier="test",
)
PROMPT = p.PromptParams(style="plain", template="{question}\n")


def problems_table():
    """Training problems in an order that is not the subset's, one with a wrong solution, and one too long to ask."""
    rows = []
    counts: dict[Split, int] = {"test": 7, "train": 12, "validation": 2}
    for split, count in counts.items():
        for number, problem in enumerate(generate(split, count, seed=0)):
            verdict = "wrong" if (split, number) == ("train", 3) else "correct"
            rows.append((f"{split}-{number}", split, problem.question, problem.solution, verdict))
    rows.insert(2, ("test-long", "test", TOO_LONG, "#### 10", "correct"))
    names = ("problem_id", "split", "question", "solution", "solution_verdict")
    made = [dict(zip(names, row, strict=True)) | {"gold": "10", "source": "strides"} for row in rows]
    return pa.Table.from_pylist(made, schema=PROBLEMS)


class Ready:
    def __init__(self, ctx):
        pass

    def blocks(self):
        return 1

    def run(self, block):
        return Output(tables={"problems": problems_table()})

    def close(self):
        pass


PROBLEMS_KEY = stage_key(StageKind.PROBLEMS, PROBLEMS_PARAMS.model_dump(mode="json"), {}, {})


@pytest.fixture
def storage(tmp_path):
    storage = Storage(uri=tmp_path.as_uri())
    stage = FrozenStage(
        kind=StageKind.PROBLEMS,
        name="problems",
        key=PROBLEMS_KEY,
        params=PROBLEMS_PARAMS.model_dump(mode="json"),
        storage=storage,
    )
    run_stage(stage, registry={**REGISTRY, StageKind.PROBLEMS: f"{__name__}:Ready"})
    return storage


def params(**changes):
    settings = {
        "split": "test",
        "subset": None,
        "samples": 3,
        "seed": 5,
        "prompt": PROMPT,
        "decoding": decoding(max_new_tokens=30),
    }
    return p.SampleParams(**(settings | changes))


def sampled(storage, key, params, *, shards=1, block_rows=4, batch_rows=8):
    """Run the stage, shard after shard; return its rows and its manifest."""
    outside = {"model": External(uri=str(BASE), digest="base"), "test": External(uri="nowhere", digest=key)}
    frozen, inputs = params.model_dump(mode="json"), {"problems": PROBLEMS_KEY}
    stage = FrozenStage(
        kind=StageKind.SAMPLE,
        name=key,
        key=stage_key(StageKind.SAMPLE, frozen, inputs, outside),
        params=frozen,
        inputs=inputs,
        externals=outside,
        storage=storage,
        shards=shards,
        block_rows=block_rows,
        resources=Resources(batch_rows=batch_rows),
    )
    for shard in reversed(range(shards)):
        run_stage(stage, shard)
    reader = Reader(open_store(storage), Path("/nonexistent"))
    return reader.table(stage.key, "samples").to_pylist(), reader.manifest(stage.key)


def test_rows_come_in_the_tables_order_and_carry_what_was_sampled(storage):
    rows, manifest = sampled(storage, "a", params())
    expected = [f"test-{i}" for i in range(7)]
    assert [(row["problem_id"], row["sample"]) for row in rows] == [(i, n) for i in expected for n in range(3)]
    engine = load_engine(BASE, decoding(max_new_tokens=30), batch_rows=4)
    questions = {row["problem_id"]: row["question"] for row in problems_table().to_pylist()}
    for row in rows:
        assert decode(engine.tokenizer, row["prompt_ids"]) == questions[row["problem_id"]] + "\n"
        ended = row["finish_reason"] == "stop"
        assert (row["token_ids"][-1] == engine.tokenizer.eos_token_id) == ended
        assert decode(engine.tokenizer, row["token_ids"]) == row["text"]
    summary = manifest.summary
    assert summary["samples"] == 21
    assert summary["too_long"] == 1
    assert summary["generated_tokens"] == sum(len(row["token_ids"]) for row in rows)
    assert summary["prompt_tokens"] == sum(len(row["prompt_ids"]) for row in rows) // 3
    assert summary["finish"] == {
        reason: sum(row["finish_reason"] == reason for row in rows) for reason in ("stop", "length")
    }


def test_shards_and_restarts_change_no_byte(storage):
    _, one = sampled(storage, "a", params())
    _, three = sampled(storage, "b", params(), shards=3)
    assert [part.sha256 for part in one.parts] == [part.sha256 for part in three.parts]
    assert one.summary == three.summary


def test_more_samples_begin_with_the_fewer(storage):
    few, _ = sampled(storage, "few", params(samples=2))
    many, _ = sampled(storage, "many", params(samples=5), block_rows=3, batch_rows=16)
    kept = [row for row in many if row["sample"] < 2]
    assert kept == few


def test_training_problems_are_the_subsets_in_its_order(storage):
    small, _ = sampled(storage, "small", params(split="train", subset=p.SubsetParams(size=3, seed=9), samples=1))
    large, _ = sampled(storage, "large", params(split="train", subset=p.SubsetParams(size=6, seed=9), samples=1))
    usable = [f"train-{i}" for i in range(12) if i != 3]
    assert [row["problem_id"] for row in large] == permutation(usable, 9)[:6]
    assert large[:3] == small


def trained(storage, own_correct):
    """Commit an SFT run of the base model that measured its policy; return its key."""
    params = {"own_correct": own_correct}
    key = stage_key(StageKind.SFT, params, {}, {})
    stage = FrozenStage(kind=StageKind.SFT, name="sft", key=key, params=params, storage=storage)
    counts = {"validation_problems": 500, "validation_correct": 150, "train_problems": 200}
    summary = {"policy": {"epoch": 16, **counts, "train_correct": own_correct}}
    files = {f"policy/{path.name}": path for path in BASE.iterdir() if path.is_file()}
    store = open_store(storage)
    finish_block(store, stage, 0, 1, Output(files=files, summary=summary), Path(storage.uri.removeprefix("file://")))
    commit(store, stage, 1)
    return stage.key


@pytest.mark.parametrize(("own_correct", "warned"), [(174, True), (70, False)])
def test_a_policy_that_knows_its_problems_by_heart_is_warned_of(storage, caplog, own_correct, warned):
    told = []

    class Listener:
        def update(self, done, total, unit, **detail):
            told.append(detail)

    policy = trained(storage, own_correct)
    frozen = params(split="train", subset=p.SubsetParams(size=6, seed=9)).model_dump(mode="json")
    inputs = {"problems": PROBLEMS_KEY, "policy": policy}
    stage = FrozenStage(
        kind=StageKind.SAMPLE,
        name="sample",
        key=stage_key(StageKind.SAMPLE, frozen, inputs, {}),
        params=frozen,
        inputs=inputs,
        storage=storage,
        block_rows=2,
    )
    with caplog.at_level(logging.WARNING, "misstep"):
        assert run_stage(stage, progress=Listener()).blocks_run == 3
    short = "over-trained: 87% of own problems, 30% of others"
    assert {detail.get("warning") for detail in told} == {short if warned else None}
    said = [r.getMessage() for r in caplog.records if "by heart" in r.getMessage()]
    assert len(said) == warned, "once a process"
    if warned:
        assert said[0].startswith(
            "The policy of 6 problems (seed 9) solves 87% of its own training problems and 30% of"
        )


def test_a_limit_takes_the_first_problems(storage):
    rows, manifest = sampled(storage, "a", params(limit=4, samples=1))
    assert [row["problem_id"] for row in rows] == ["test-0", "test-1", "test-2"]
    assert manifest.summary["too_long"] == 1


def test_a_search_samples_validation_problems_behind_those_that_it_skips(storage):
    rows, _ = sampled(storage, "all", params(split="validation", samples=1))
    assert [row["problem_id"] for row in rows] == ["validation-0", "validation-1"]
    rows, _ = sampled(storage, "second", params(split="validation", samples=1, skip=1, limit=1))
    assert [row["problem_id"] for row in rows] == ["validation-1"]


def test_a_block_in_which_every_prompt_is_too_long_has_no_rows(storage):
    rows, manifest = sampled(storage, "a", params(samples=1), block_rows=1)
    assert len(rows) == 7
    assert manifest.summary["too_long"] == 1


def test_it_is_fatal_where_no_prompt_fits(storage):
    with pytest.raises(BadInput, match="context of 128 tokens"):
        sampled(storage, "a", params(prompt=p.PromptParams(style="plain", template="start " * 200 + "{question}")))


def test_too_few_training_problems_are_named(storage):
    with pytest.raises(BadInput, match="There are 11 training problems"):
        sampled(storage, "a", params(split="train", subset=p.SubsetParams(size=12, seed=0)))


@given(st.integers(0, 10), st.integers(1, 11), st.integers(1, 11))
def test_subsets_are_prefixes_of_each_other(seed, size, other):
    table = problems_table()
    small, large = (
        train_subset(table, p.SubsetParams(size=n, seed=seed))["problem_id"].to_pylist() for n in sorted((size, other))
    )
    assert large[: len(small)] == small
    assert "train-3" not in large


@given(st.integers(0, 2**63), st.text(max_size=5), st.integers(0, 100))
def test_seeds_name_their_sample(seed, problem, index):
    assert 0 <= sample_seed(seed, "test", problem, index) < 2**64
    assert sample_seed(seed, "test", problem, index) != sample_seed(seed, "test", problem, index + 1)
    assert sample_seed(seed, "test", problem, index) != sample_seed(seed, "train", problem, index)
