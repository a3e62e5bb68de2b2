"""Rows for TRL: their text is what the tokens decode to, and TRL's own trainers take a step on them."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from misstep.artifacts.output import Output
from misstep.credit.trl_export import export_trl
from misstep.credit.trl_rows import PromptText, TrlRows, step_labels, stepwise_row
from misstep.errors import BadInput
from misstep.generation.text import encode
from misstep.generation.tokenizers import load_tokenizer
from misstep.plan.kinds import StageKind
from misstep.store.open import open_store
from tests.artifacts.making import finish_block, frozen
from tests.credit.inputs import BASE, World, answered
from tests.credit.test_stages import credit_params, pairs_params
from tests.credit.vocabularies import byte_level


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with the credit and the pairs of some problems, and a policy with a tokenizer."""
    from misstep.artifacts.manifest import commit

    world = World(tmp_path_factory.mktemp("store"))
    store = open_store(world.storage)
    policy = frozen(StageKind.SFT, {"policy": "base"}, world.storage)
    scratch = tmp_path_factory.mktemp("scratch")
    files = {f"policy/{file.name}": file for file in BASE.iterdir()} | {"model/config.json": BASE / "config.json"}
    finish_block(store, policy, 0, 1, Output(files=files, summary={}), scratch)
    commit(store, policy, 1)
    inputs = world.commit_all(*answered(16, 8))
    credit = world.run(StageKind.CREDIT, {**inputs, "policy": policy.key}, credit_params(estimator="sequential"))
    pairs = world.run(StageKind.PAIRS, {**inputs, "credit": credit}, pairs_params("shared-prefix"))
    return world, store, credit, pairs


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def preference(made, tmp_path_factory):
    _, store, _, pairs = made
    out = tmp_path_factory.mktemp("out") / "pairs.jsonl"
    assert export_trl(store, pairs, "trl-preference", out, BASE) == (len(lines(out)), 0)
    return lines(out)


@pytest.fixture(scope="module")
def stepwise(made, tmp_path_factory):
    _, store, credit, _ = made
    out = tmp_path_factory.mktemp("out") / "steps.jsonl"
    assert export_trl(store, credit, "trl-stepwise", out) == (len(lines(out)), 0)
    return lines(out)


def test_prompt_and_chosen_side_are_what_the_tokens_decode_to(made, preference):
    world, _, _, pairs = made
    tokenizer = load_tokenizer(BASE)
    rows = world.rows(pairs, "pairs")
    assert len(rows) == len(preference) > 5
    for pair, row in zip(rows, preference, strict=True):
        for side in ("chosen", "rejected"):
            ids = [*pair["prompt_ids"], *pair[f"{side}_ids"]]
            assert row["prompt"] + row[side] == tokenizer.decode(ids, skip_special_tokens=True)
            ends = side == "chosen" or pair["rejected_complete"]
            assert encode(tokenizer, row["prompt"] + row[side]) == (ids[:-1] if ends else ids)


def test_completions_are_the_response_up_to_the_pit(made, stepwise):
    world, _, credit, _ = made
    pits = [row for row in world.rows(credit, "negatives") if row["pit"] is not None]
    wrong = [row for row in stepwise if not all(row["labels"])]
    assert 0 < len(wrong) <= len(pits)
    texts = {"".join(row["step_texts"][: row["pit"]]).removesuffix("\n") for row in pits}
    for row in wrong:
        assert row["labels"] == [True] * (len(row["labels"]) - 1) + [False]
        assert "\n".join(row["completions"]) in texts
    right = [row for row in stepwise if all(row["labels"])]
    assert right
    assert all(row["completions"][-1].startswith("#### ") for row in right)


def test_dpo_of_trl_takes_a_step_and_ends_both_sides(preference, tmp_path):
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    tokenizer = load_tokenizer(BASE)
    args = DPOConfig(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=4, report_to=[], use_cpu=True, bf16=False,
        save_strategy="no", gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(BASE)
    trainer = DPOTrainer(
        model=model, args=args, processing_class=tokenizer, train_dataset=Dataset.from_list(preference)
    )
    before = model.get_input_embeddings().weight.detach().clone()
    assert trainer.train().training_loss > 0
    assert not before.equal(model.get_input_embeddings().weight)
    eos = tokenizer.eos_token_id
    for row, text in zip(trainer.train_dataset, preference, strict=True):
        assert row["prompt_ids"] == encode(tokenizer, text["prompt"])
        assert row["chosen_ids"] == [*encode(tokenizer, text["chosen"]), eos]
        # What docs/credit-a-file.md says: TRL ends a step alone too, which our own DPO does not.
        assert row["rejected_ids"] == [*encode(tokenizer, text["rejected"]), eos]


def test_a_prm_trainer_makes_the_response_of_prompt_and_completions(stepwise):
    """The rule of TRL's trainer of process reward models (trl 0.24, `PRMTrainer.tokenize_row`): each completion is
    followed by a newline, whose token has the label."""
    tokenizer = load_tokenizer(BASE)
    separator = encode(tokenizer, "\n")
    for row in stepwise:
        assert len(row["completions"]) == len(row["labels"]) > 0
        ids = encode(tokenizer, row["prompt"]) + list(
            chain.from_iterable(encode(tokenizer, step) + separator for step in row["completions"])
        )
        text = row["prompt"] + "".join(f"{step}\n" for step in row["completions"])
        assert ids == encode(tokenizer, text)


def test_what_cannot_be_exported_is_refused(made, tmp_path):
    _, store, credit, pairs = made
    with pytest.raises(BadInput, match="made from a pairs artifact"):
        export_trl(store, credit, "trl-preference", tmp_path / "out", BASE)
    with pytest.raises(BadInput, match="made from a credit artifact"):
        export_trl(store, pairs, "trl-stepwise", tmp_path / "out", BASE)
    with pytest.raises(BadInput, match="--tokenizer DIR"):  # the samples of this test name no policy
        export_trl(store, pairs, "trl-preference", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class _WithBeginning:
    """A tokenizer that puts a beginning of text before a text."""

    def __init__(self) -> None:
        self._inner = byte_level()
        self.bos_token_id = self._inner.eos_token_id

    def __call__(self, text, add_special_tokens=True):
        ids = self._inner(text, add_special_tokens=False)["input_ids"]
        return {"input_ids": [self.bos_token_id, *ids] if add_special_tokens else ids}

    def decode(self, ids, **more):
        return self._inner.decode(ids, **more)


def test_a_beginning_of_text_that_the_tokenizer_adds_is_not_written():
    tokenizer = _WithBeginning()
    ids, more = tokenizer("Ann has")["input_ids"], tokenizer(" 3.", add_special_tokens=False)["input_ids"]
    text = PromptText(tokenizer)
    assert text.of(ids) == "Ann has"
    assert text.same(ids, "Ann has", more, " 3.")
    assert not text.same(ids, "Ann has", more[:-1], " 3.")


def test_rows_end_at_the_pit_and_lose_one_newline_a_step():
    assert stepwise_row("p\n", ["a\n", "b\n\n", "c"], [True, False, None]) == {
        "prompt": "p\n",
        "completions": ["a", "b\n"],
        "labels": [True, False],
    }
    assert stepwise_row("p", ["a\n", "b"], [True, True])["completions"] == ["a", "b"]


@given(st.integers(1, 6), st.data(), st.booleans(), st.booleans())
def test_labels_of_steps_end_at_the_pit(steps, data, correct, refuted):
    pit = data.draw(st.none() | st.integers(1, steps))
    labels = step_labels(steps, pit, correct, refuted)
    if pit is None or refuted:
        assert labels == ([True] * steps if correct else None)
        return
    assert labels is not None and len(labels) == steps
    assert labels[:pit] == [True] * (pit - 1) + [False]
    assert set(labels[pit:]) <= {None}
    row = stepwise_row("p", [f"{n}\n" for n in range(steps)], labels)
    assert row["labels"] == labels[:pit]
    assert row["completions"] == [str(n) for n in range(pit)]


def test_texts_end_before_a_stop_string_and_its_tokens_are_compared():
    tokenizer = byte_level()
    made = TrlRows(tokenizer, {tokenizer.eos_token_id}, ["\n\nQ"])
    prompt, step = encode(tokenizer, "Q:\n"), encode(tokenizer, "a b")
    row, same = made.stepwise(prompt, [*step, tokenizer.eos_token_id], ["a b\n\nQ"], [True])
    assert (row["completions"], same) == (["a b"], True)
    pair = {"prompt_ids": prompt, "chosen_ids": step, "chosen_text": "a b", "rejected_text": "c\n\nQ"}
    row, same = made.preference(pair)
    assert (row, same) == ({"prompt": "Q:\n", "chosen": "a b", "rejected": "c"}, True)


def test_a_correct_solution_ends_at_the_step_that_luck_saved(tmp_path, monkeypatch):
    """Others of this task pass through all such steps, so that none is left unless they are not asked."""
    world = World(tmp_path)
    store = open_store(world.storage)
    params = credit_params(rollouts=1, best_of=1, positives_per_problem=8)
    credit = world.run(StageKind.CREDIT, world.commit_all(*answered(36, 8)), params)
    saved = [
        "".join(r["step_texts"][: r["pit"]]).removesuffix("\n") for r in world.rows(credit, "positives") if r["pit"]
    ]
    assert saved
    wrong = {tuple(row["step_texts"][: row["pit"]]) for row in world.rows(credit, "negatives") if row["pit"]}

    def ends(name):
        export_trl(store, credit, "trl-stepwise", tmp_path / name, BASE)
        rows = lines(tmp_path / name)
        assert all(row["labels"].index(False) == len(row["labels"]) - 1 for row in rows if False in row["labels"])
        return Counter("\n".join(row["completions"]) for row in rows if False in row["labels"])

    with monkeypatch.context() as patch:
        patch.setattr("misstep.credit.trl_source.row_refuted", lambda *_: False)
        every = ends("all.jsonl")
    assert every >= Counter(saved)
    assert set(every) == {"".join(steps).removesuffix("\n") for steps in wrong} | set(saved)
    asked = ends("asked.jsonl")
    assert asked <= every
    assert len(asked) < len(every)
