"""Ids beyond the model's embeddings, and beyond the tokenizer's tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from misstep.errors import BadInput
from misstep.training import dpo_stage, sft_stage
from misstep.training.export import InitialModel
from misstep.training.ids import check_ids, embeddings_of, pad_inside
from misstep.training.rows import PairRow, SftRow
from misstep.training.run import train
from misstep.training.selection import Question
from tests.training import small, stages

KNOWN = len(small.VOCABULARY)


def int32(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def add_token(folder: Path, **special: str) -> int:
    """Give a model folder's tokenizer a token that the model has no embedding for; return its id."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if special:
        tokenizer.add_special_tokens(special)
    else:  # not marked special, for a special token that a question spells stays text
        tokenizer.add_tokens(["<|new|>"])
    tokenizer.save_pretrained(folder)
    return KNOWN


GOOD = SftRow(int32(3, 4, 1), 1)
BAD: list[tuple[list[Any], list[Question], str]] = [
    ([GOOD, SftRow(int32(3, KNOWN, 1), 1)], [], "training row 1"),
    ([GOOD], [Question("q7", [3, KNOWN], "4")], "the prompt of problem q7"),
    ([PairRow(int32(3), int32(4), int32(5, KNOWN))], [], "training row 0"),
    ([PairRow(int32(3), int32(KNOWN), int32(5))], [], "training row 0"),
    ([PairRow(int32(3, KNOWN), int32(4), int32(5))], [], "training row 0"),
]


@pytest.mark.parametrize(("rows", "questions", "where"), BAD)
def test_an_id_without_an_embedding_is_refused(rows: Any, questions: Any, where: str):
    tokenizer = small.tokenizer()
    tokenizer.add_tokens(["<|new|>"])
    with pytest.raises(BadInput) as error:
        check_ids(rows, questions, tokenizer, KNOWN)
    assert str(error.value) == (
        f"spec.policy.model: token '<|new|>' of {where} has the id {KNOWN}, and the model has {KNOWN} token "
        "embeddings. Use the tokenizer that the model was trained with, or resize the model's embeddings to "
        f"{KNOWN + 1} (resize_token_embeddings) and save both."
    )
    check_ids(rows, questions, tokenizer, KNOWN + 1)


def test_negative_ids_are_refused():
    with pytest.raises(BadInput, match="token None of training row 0 has the id -1"):
        check_ids([SftRow(int32(3, -1), 1)], [], small.tokenizer(), KNOWN)


def test_stages_refuse_a_tokenizer_with_more_tokens_than_the_model(tmp_path: Path):
    base = small.save_model(tmp_path / "base")
    add_token(base)
    of = stages.problems()
    rows = of.to_pylist()
    for row in rows:
        row["question"] += " <|new|>"
    problems = type(of).from_pylist(rows, schema=of.schema)
    work = sft_stage.open_work(stages.stage(tmp_path / "sft", base, stages.sft_params(), problems=problems))
    with pytest.raises(BadInput, match=r"spec.policy.model: token '<\|new\|>' of training row 0 has the id 28"):
        work.run(0)
    chosen_by = stages.dpo_params(selection=small.selection(problems=4))
    work = dpo_stage.open_work(stages.stage(tmp_path / "dpo", base, chosen_by, problems=problems))
    with pytest.raises(BadInput, match="of the prompt of problem p040 has the id 28"):
        work.run(0)


@pytest.mark.parametrize("pad", ["outside", "none", "end", "negative-in-config"])
@pytest.mark.parametrize("make", ["sft", "dpo"])
def test_any_padding_gives_the_same_model(base: Path, tmp_path: Path, pad: str, make: str):
    changed = small.save_model(tmp_path / "base")
    if pad == "outside":
        assert add_token(changed, pad_token="<|pad|>") == AutoTokenizer.from_pretrained(changed).pad_token_id
    elif pad == "negative-in-config":
        config = changed / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"pad_token_id": -1}))
    else:
        tokenizer = AutoTokenizer.from_pretrained(changed)
        tokenizer.pad_token = None if pad == "none" else "<eos>"
        tokenizer.save_pretrained(changed)
    params = small.optimiser(micro_batch_size=4)

    def weights(folder: Path, model: Path) -> dict[str, torch.Tensor]:
        run = small.sft_run(small.sft_examples(20), params)
        if make == "dpo":
            run = small.dpo_run(small.pair_examples(20), params)
        return load_file(
            train(small.context(folder, run), InitialModel.load(model), run).files["model/model.safetensors"]
        )

    plain, padded = weights(tmp_path / "plain", base), weights(tmp_path / "padded", changed)
    for name, weight in plain.items():
        torch.testing.assert_close(padded[name], weight, atol=1e-6, rtol=1e-5)


def test_a_written_model_keeps_the_folders_own_padding(tmp_path: Path):
    base = small.save_model(tmp_path / "base")
    add_token(base, pad_token="<|pad|>")
    run = small.sft_run(small.sft_examples(8), small.optimiser(epochs=1))
    output = train(small.context(tmp_path, run), InitialModel.load(base), run)
    written = output.files["model/config.json"].parent
    assert AutoTokenizer.from_pretrained(written).pad_token == "<|pad|>"


def test_a_token_that_is_padding_and_text_is_trained(base: Path):
    start = InitialModel.load(base)
    tokenizer = start.trainers_tokenizer()
    assert start.model.get_input_embeddings().padding_idx == 0
    pad_inside(start.model, tokenizer)
    assert tokenizer.pad_token_id == 0
    start.model(input_ids=torch.tensor([[0, 3, 4]]), labels=torch.tensor([[-100, 3, 4]])).loss.backward()
    assert start.model.get_input_embeddings().weight.grad[0].abs().sum() > 0


def test_sampled_ids_beyond_the_tokenizer_are_trained_on(tmp_path: Path):
    base = small.save_model(tmp_path / "base", vocab_size=4 * KNOWN)
    assert embeddings_of(InitialModel.load(base).model) == 4 * KNOWN
    drawn, judged = stages.samples(stages.problems(), each=2)
    rows = drawn.to_pylist()
    for row in rows:
        row["token_ids"] = [3 * KNOWN, *row["token_ids"]]
    context = stages.stage(
        tmp_path, base, stages.rft_params(), samples=type(drawn).from_pylist(rows, schema=drawn.schema), verdicts=judged
    )
    output = sft_stage.open_work(context).run(0)
    assert output.summary["sources"]["own"] == 80
    texts = [segment["text"] for row in output.summary["shown"] for segment in row["segments"]]
    assert any(text.startswith(f"[id {3 * KNOWN}]") for text in texts)
