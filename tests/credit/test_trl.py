"""Rows for TRL: their text is what the tokens decode to, and TRL's own trainers take a step on them."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from misstep.artifacts.output import Output
from misstep.credit.trl_export import export_trl
from misstep.credit.trl_rows import PromptText, refuted, stepwise_row
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
    assert stepwise_row("p\n", ["a\n", "b\n\n", "c"], 2) == {
        "prompt": "p\n",
        "completions": ["a", "b\n"],
        "labels": [True, False],
    }
    assert stepwise_row("p", ["a\n", "b"], None)["labels"] == [True, True]


def test_a_pit_that_a_right_response_passes_through_is_refuted():
    assert refuted((1, 2, 3), 2, [(9,), (1, 2, 7)])
    assert not refuted((1, 2, 3), 2, [(1, 3, 7), (1,)])
