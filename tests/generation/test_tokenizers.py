"""Two readings of one tokenizer file, exact decoding of continuations, and what a fingerprint distinguishes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, normalizers
from transformers import AutoTokenizer

from misstep.errors import BadInput
from misstep.generation.fingerprint import fingerprint
from misstep.generation.prompts import PromptBuilder
from misstep.generation.text import PROBES, decode, decode_continuation, encode, first_loss, is_closed
from misstep.generation.tokenizers import load_tokenizer, read_tokenizer
from misstep.inspection.text import check_probe
from misstep.plan.params import PromptParams
from tests.credit.vocabularies import atoms, byte_level, sentencepiece
from tests.generation.tiny import byte_tokenizer, word_tokenizer

TEXT = st.text(st.sampled_from(list("ab3 .,\n×é#")), max_size=30)


@pytest.fixture
def folder(tmp_path):
    byte_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return tmp_path


def say(folder, **changes):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("name", ["LlamaTokenizerFast", "LlamaTokenizer"])
def test_a_class_that_loses_text_gives_way_to_the_file(folder, name):
    say(folder, tokenizer_class=name)
    lost = AutoTokenizer.from_pretrained(folder)
    assert decode(lost, encode(lost, PROBES[0])) != PROBES[0]  # else this test shows nothing
    reading = read_tokenizer(folder)
    assert reading.by == "file"
    assert "is read directly" in reading.notes[0] and PROBES[0] in reading.notes[0]
    assert first_loss(reading.tokenizer) is None
    assert fingerprint(reading.tokenizer) != fingerprint(lost)
    assert fingerprint(reading.tokenizer) == fingerprint(byte_tokenizer())


def test_a_class_that_cannot_read_the_vocabulary_gives_way_to_the_file(folder):
    say(folder, tokenizer_class="GemmaTokenizerFast")
    with pytest.raises(Exception, match="<unk>"):
        encode(AutoTokenizer.from_pretrained(folder), PROBES[0])
    reading = read_tokenizer(folder)
    assert reading.by == "file" and "fails" in reading.notes[0]
    assert first_loss(reading.tokenizer) is None


def test_a_written_copy_is_read_as_the_folder_was(folder, tmp_path):
    say(folder, tokenizer_class="LlamaTokenizerFast")
    reading = read_tokenizer(folder)
    again = tmp_path / "again"
    reading.tokenizer.save_pretrained(again)
    (again / "config.json").write_text((folder / "config.json").read_text())
    assert fingerprint(load_tokenizer(again)) == fingerprint(reading.tokenizer)


def test_a_class_that_reads_the_file_as_it_is_stays(folder):
    reading = read_tokenizer(folder)
    assert (reading.by, reading.notes) == ("class", ())


def test_the_beginning_that_the_folder_asks_for_is_kept_when_written(tmp_path):
    byte_tokenizer(bos_token="<s>").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert read_tokenizer(tmp_path).notes == ()
    say(tmp_path, add_bos_token=True)
    reading = read_tokenizer(tmp_path)
    assert "begins with <s>" in reading.notes[0]
    prompt = PromptBuilder(reading.tokenizer, PromptParams(style="plain", template="{question}"))
    assert prompt.prompt_ids("ab")[0] == reading.tokenizer.bos_token_id
    again = tmp_path / "again"
    reading.tokenizer.save_pretrained(again)
    (again / "config.json").write_text((tmp_path / "config.json").read_text())
    saved = load_tokenizer(again)
    assert saved("ab")["input_ids"] == reading.tokenizer("ab")["input_ids"]


@pytest.mark.parametrize("name", ["T5TokenizerFast", "XLMRobertaTokenizer", "CamembertTokenizer"])
def test_a_class_that_cannot_be_made_of_the_file_gives_way_to_it(folder, name):
    say(folder, tokenizer_class=name)
    with pytest.raises((TypeError, ValueError)):
        AutoTokenizer.from_pretrained(folder)
    reading = read_tokenizer(folder)
    assert reading.by == "file" and name in reading.notes[0] and "it fails" in reading.notes[0]
    assert fingerprint(reading.tokenizer) == fingerprint(byte_tokenizer())


@pytest.mark.parametrize("name", ["RobertaTokenizerFast", "WhisperTokenizer"])
def test_a_class_that_brings_special_tokens_of_its_own_gives_way_to_the_file(folder, name):
    say(folder, tokenizer_class=name)
    assert AutoTokenizer.from_pretrained(folder)("a")["input_ids"][0] >= len(byte_tokenizer())
    reading = read_tokenizer(folder)
    assert reading.by == "file" and "around a text" in reading.notes[0]
    assert reading.tokenizer("a")["input_ids"] == byte_tokenizer()("a")["input_ids"]


def test_what_does_not_load_is_refused(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match="tokenizer"):
        read_tokenizer(folder)
    (folder / "config.json").unlink()
    with pytest.raises(BadInput, match=r"config\.json"):
        read_tokenizer(folder)


def test_probes_survive_bytes_and_not_words():
    assert first_loss(byte_tokenizer()) is None
    assert not is_closed(byte_tokenizer())
    assert is_closed(word_tokenizer()) and is_closed(atoms())
    assert first_loss(byte_tokenizer(), ["é\n  x"]) is None


@pytest.mark.parametrize("build", [byte_level, sentencepiece], ids=["bytes", "sentencepiece"])
@given(first=TEXT, second=TEXT)
def test_texts_of_consecutive_pieces_join(build, first, second):
    tokenizer = build()
    builder = PromptBuilder(tokenizer, PromptParams(style="plain", template="{question}#"))
    response = builder.continuation_ids(first + second)[:-1]
    assert decode_continuation(tokenizer, response) == first + second
    for cut in range(len(response) + 1):
        head, tail = decode_continuation(tokenizer, response[:cut]), decode_continuation(tokenizer, response[cut:])
        if "\ufffd" not in head + tail:  # a cut inside a character
            assert head + tail == first + second


@pytest.mark.parametrize(
    "normalizer", [normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Replace("#", "")]
)
def test_a_file_that_loses_text_is_refused(normalizer):
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizer
    assert not is_closed(tokenizer)
    with pytest.raises(BadInput, match=r"spec\.policy\.model: its tokenizer .* loses text: .* becomes"):
        check_probe(tokenizer, "spec.policy.model")


def test_a_length_that_is_written_into_the_file_cuts_nothing(folder):
    file = folder / "tokenizer.json"
    held = json.loads(file.read_text())
    held["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    held["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    file.write_text(json.dumps(held))
    tokenizer = load_tokenizer(folder)
    assert first_loss(tokenizer) is None
    builder = PromptBuilder(tokenizer, PromptParams(style="plain", template="{question}"))
    assert decode(tokenizer, builder.prompt_ids("a" * 100)) == "a" * 100


def test_a_response_may_begin_with_a_space():
    tokenizer = sentencepiece()
    builder = PromptBuilder(tokenizer, PromptParams(style="plain", template="{question}\n"))
    assert decode(tokenizer, builder.continuation_ids(" She has")[:-1]) == "She has"
    assert decode_continuation(tokenizer, builder.continuation_ids(" She has")[:-1]) == " She has"
