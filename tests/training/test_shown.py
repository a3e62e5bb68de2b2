"""What the model was shown, as text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from misstep.artifacts.summary import merge, plain
from misstep.training.export import InitialModel
from misstep.training.rows import PairRow, SftRow
from misstep.training.run import train
from misstep.training.shown import _choose, shown_rows
from tests.training import small


def int32(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def byte_level() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({x: i for i, x in enumerate(["<eos>", *letters])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """A tokenizer that drops the space before the first word of what it decodes."""
    vocabulary = {x: i for i, x in enumerate(["</s>", "▁1", "▁+", "▁so", "▁2"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="</s>"))
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")


@given(st.text(max_size=40), st.text(max_size=40))
def test_text_reads_as_it_is_with_its_end_token_and_loss_on_the_response(prompt, response):
    tokenizer = byte_level()
    before, after = (tokenizer(text)["input_ids"] for text in (prompt, response))
    (shown,) = shown_rows([SftRow(int32(*before, *after, 0), len(before))], tokenizer)
    assert shown["tokens"] == len(before) + len(after) + 1
    assert [(s["name"], s["text"], s["tokens"], s["loss"]) for s in shown["segments"]] == [
        ("prompt", prompt, len(before), False),
        ("response", response + "<eos>", len(after) + 1, True),
    ]


def test_a_side_reads_as_it_does_behind_its_prompt():
    (shown,) = shown_rows([PairRow(int32(1, 2, 4), int32(3, 1, 0), int32(4))], sentencepiece_like())
    assert [(s["name"], s["text"], s["loss"]) for s in shown["segments"]] == [
        ("prompt", "1 + 2", False),
        ("chosen", " so 1</s>", True),
        ("rejected", " 2", True),
    ]


def test_half_a_letter_at_the_border_hides_nothing():
    tokenizer = byte_level()
    ids = tokenizer("é!")["input_ids"]
    (shown,) = shown_rows([SftRow(int32(*ids), 1)], tokenizer)
    assert [s["text"] for s in shown["segments"]] == ["\ufffd", "\ufffd!"]


def test_ids_that_the_tokenizer_does_not_know_are_written_as_ids():
    tokenizer = byte_level()
    (shown,) = shown_rows([SftRow(int32(*tokenizer("ab")["input_ids"], 900, 901, 0), 1)], tokenizer)
    assert [s["text"] for s in shown["segments"]] == ["a", "b[id 900][id 901]<eos>"]


def test_long_text_is_shortened_in_its_middle():
    tokenizer = byte_level()
    prompt = tokenizer("begin" + "x" * 9000 + "end")["input_ids"]
    (shown,) = shown_rows([SftRow(int32(*prompt, 0), len(prompt))], tokenizer)
    text = shown["segments"][0]["text"]
    assert text.startswith("beginx") and text.endswith("xend")
    assert len(text) < 1300
    assert "[…7,808 characters…]" in text


@given(st.lists(st.integers(1, 9), max_size=12))
def test_the_first_the_shortest_and_the_longest_are_chosen(lengths):
    chosen = _choose(lengths)
    assert len(chosen) == len(set(chosen)) == min(3, len(lengths))
    assert all(0 <= index < len(lengths) for index in chosen)
    if lengths:
        assert chosen[0] == 0
        assert {min(lengths), max(lengths)} <= {lengths[index] for index in chosen}


def test_a_stage_keeps_three_rows_that_its_manifest_can_hold(base: Path, tmp_path: Path):
    examples = small.sft_examples(20)
    run = small.sft_run(examples, small.optimiser(epochs=1))
    summary = train(small.context(tmp_path / "sft", run), InitialModel.load(base), run).summary
    assert merge([plain(summary)])["shown"] == json.loads(json.dumps(summary["shown"])) == summary["shown"]
    assert len(summary["shown"]) == 3
    first = examples[0].input_ids.tolist()
    assert "".join(s["text"] for s in summary["shown"][0]["segments"]) == small.tokenizer().decode(first)
    assert all(row["segments"][1]["text"].endswith("<eos>") for row in summary["shown"])
    run = small.dpo_run(small.pair_examples(20), small.optimiser(epochs=1))
    summary = train(small.context(tmp_path / "dpo", run), InitialModel.load(base), run).summary
    assert [[s["name"] for s in row["segments"]] for row in summary["shown"]] == [["prompt", "chosen", "rejected"]] * 3
