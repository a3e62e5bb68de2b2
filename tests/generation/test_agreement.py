"""A model of any architecture either runs with the tokens of full passes, or is refused."""

from __future__ import annotations

import gc
import logging
import random
import weakref

import numpy as np
import pytest
import torch
import transformers
from tools.architectures import compare, sweep_type, table_says
from tools.tiny_models import RECURRENT, VARIANTS, WINDOW, WORDS, tiny_model, tiny_tokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from misstep.errors import EXIT_BAD_INPUT, BadInput
from misstep.generation import agreement, architectures, row_cache
from misstep.generation.agreement import decoder_for
from misstep.generation.decoders import CachedWhileShort, FullPassDecoder, OrdinaryDecoder, RowDecoder, full_pass
from misstep.generation.engine import Request
from misstep.generation.probe import Probe
from misstep.generation.transformers_engine import TransformersEngine, load_engine
from tests.generation.tiny import decoding, tiny, word_tokenizer

RUNNING = sorted(name for name, way in architectures.WAYS.items() if way != "refused")


def test_the_table_is_of_the_installed_transformers_and_of_all_its_types():
    assert transformers.__version__ == architectures.TRANSFORMERS
    assert set(architectures.WAYS) | set(architectures.NOT_BUILT) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert not set(architectures.WAYS) & set(architectures.NOT_BUILT)
    assert {name for name, way in architectures.WAYS.items() if way == "refused"} <= set(architectures.NOTES)


@pytest.mark.parametrize("name", random.Random(0).sample(RUNNING, 6))
def test_a_sample_of_the_table_comes_out_again(name):
    seen = sweep_type(name)
    assert seen.way == architectures.WAYS[name]
    assert seen.tokens == architectures.TOKENS[name] > 50


@pytest.mark.slow
@pytest.mark.sweep(keep=15)
@pytest.mark.parametrize("name", RUNNING)
def test_every_type_of_the_table_is_right_with_other_weights(name):
    compared = compare(tiny_model(name, seed=7), architectures.WAYS[name])
    assert compared.right
    assert compared.tokens > 20


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_models_are_right_from_the_folder_on(name, tmp_path):
    tiny_model(name, seed=3).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    engine = load_engine(tmp_path, decoding(temperature=0.0, max_new_tokens=20), batch_rows=4)
    prompts = [[5 + (7 * i + j) % 40 for j in range(length)] for i, length in enumerate((1, 4, 4, 9, 11))]
    for number, prompt in enumerate(prompts):
        engine.submit(Request(number, prompt, [0] * (1 + number % 3)))
    for request, completions in engine.results():
        for completion in completions:
            text = list(prompts[request.request_id])
            for token in completion.token_ids:
                logits = full_pass(engine._model, np.array([text]))[0]
                assert float(logits.max() - logits[token]) < 1e-4
                text.append(token)


@pytest.mark.parametrize(
    "name", ["bamba", "falcon_mamba", "gemma3_text", "mamba2", "mixtral", "recurrent_gemma", "rwkv"]
)
def test_a_type_that_the_table_does_not_know_is_found_out(name, monkeypatch):
    monkeypatch.setattr(architectures, "WAYS", {})
    compared = compare(tiny_model(name, seed=5), allowed=None)
    assert compared.right
    assert compared.way == ("full" if name in {"recurrent_gemma", "rwkv"} else "cache")


@pytest.mark.parametrize("name", ["bamba", "falcon_mamba", "mixtral", "qwen3", "qwen3_next", "recurrent_gemma", "rwkv"])
def test_in_half_precision_the_same_way_is_chosen(name):
    chosen = [type(decoder_for(tiny_model(name, dtype=dtype), 2)) for dtype in (torch.float32, torch.bfloat16)]
    assert chosen[0] is chosen[1]


def test_a_cache_that_corrupts_rows_is_not_used_and_the_log_says_why(monkeypatch, caplog):
    assert isinstance(decoder_for(tiny_model("mamba"), 2), OrdinaryDecoder)
    monkeypatch.setattr(OrdinaryDecoder, "move", lambda self, *_: self._select(np.arange(2)))  # the wrong rows
    with caplog.at_level(logging.WARNING):
        assert isinstance(decoder_for(tiny_model("mamba"), 2), FullPassDecoder)
    (record,) = caplog.records
    assert "without a cache" in record.getMessage()
    assert "after a row left, logits differ by" in record.getMessage()
    assert "vllm" in record.getMessage()


def test_a_cache_that_raises_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(OrdinaryDecoder, "fork", lambda *_: [][0])
    with caplog.at_level(logging.WARNING):
        assert isinstance(decoder_for(tiny_model("mamba"), 2), FullPassDecoder)
    assert "IndexError" in caplog.text


def test_lack_of_memory_is_no_disagreement(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(OrdinaryDecoder, "prefill", full)
    with pytest.raises(torch.OutOfMemoryError):
        decoder_for(tiny_model("mamba"), 2)


def test_a_window_that_is_wider_than_the_probe_is_looked_at(monkeypatch):
    model = tiny_model("mistral", sliding_window=100)
    assert isinstance(decoder_for(model, 2), RowDecoder)
    assert model.config.sliding_window == 100
    attend = row_cache.row_attention
    blind = lambda *args, sliding_window=None, **rest: attend(*args, **rest)  # noqa: E731
    monkeypatch.setitem(transformers.AttentionInterface._global_mapping, row_cache.ATTENTION, blind)
    assert isinstance(decoder_for(tiny_model("mistral", sliding_window=100), 2), OrdinaryDecoder)


def test_a_model_is_looked_at_once(monkeypatch):
    model = tiny_model("mistral")
    kind = type(decoder_for(model, 2))
    monkeypatch.setattr(agreement, "Probe", None)
    assert type(decoder_for(model, 3)) is kind
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_models_with_windows_run_by_rows_only_where_the_type_is_known(monkeypatch):
    monkeypatch.setattr(architectures, "TRANSFORMERS", "0.0")
    assert isinstance(decoder_for(tiny_model("mistral"), 2), OrdinaryDecoder)
    assert isinstance(decoder_for(tiny_model("mistral", sliding_window=None), 2), RowDecoder)


def test_positions_that_change_with_the_length_are_cached_up_to_it(monkeypatch):
    changes = VARIANTS["phi3"][-1]
    model = tiny_model("phi3", **changes)
    decoder = decoder_for(model, 2)
    assert isinstance(decoder, CachedWhileShort)
    limit = changes["original_max_position_embeddings"]
    cached_steps: list[int] = []
    step = decoder._cached.step
    monkeypatch.setattr(decoder._cached, "step", lambda tokens, at: (cached_steps.extend(at), step(tokens, at))[1])
    decoder.prefill(0, [[5, 6, 7]], 64)
    for at in range(2, limit + 3):
        decoder.step(np.array([7]), np.array([at]))
    assert cached_steps == list(range(2, limit))
    cached = OrdinaryDecoder(model)  # what the limit is for
    text = np.array([[5 + i % 20 for i in range(limit + 4)]])
    cached.prefill(0, text[:, :limit].tolist(), limit + 4)
    for at in range(limit - 1, limit + 4):
        logits = cached.step(text[:, at], np.array([at]))
    expected = full_pass(model, text)
    assert (logits - expected).norm() > 0.01 * expected.norm()
    compared = compare(model, "rows")
    assert compared.right


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_looks_at_later_tokens_is_refused(dtype):
    with pytest.raises(BadInput, match=r"^spec\.policy\.model: .*bert.* depend on later tokens") as caught:
        decoder_for(tiny("bert", is_decoder=False, dtype=dtype), 2)
    assert caught.value.exit_code == EXIT_BAD_INPUT
    assert "vllm" in str(caught.value)


def test_a_model_that_draws_at_random_is_refused(monkeypatch):
    model = tiny()
    forward = model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda x: forward(x + torch.randn_like(x)))
    with pytest.raises(BadInput, match=r"spec\.policy\.model"):
        decoder_for(model, 2)


def test_a_type_that_the_table_refuses_is_refused_with_what_was_seen():
    with table_says("llama", "refused"), pytest.raises(BadInput, match="seen of it") as caught:
        pytest.MonkeyPatch().setitem(architectures.NOTES, "llama", "This was seen of it.")
        decoder_for(tiny(), 2)
    assert caught.value.field == "spec.policy.model"


def test_a_model_that_needs_more_than_text_is_refused(monkeypatch):
    model = tiny()
    monkeypatch.setattr(type(model), "forward", lambda self, input_ids, pixel_values, **_: None)
    with pytest.raises(BadInput, match="over text fails: TypeError"):
        TransformersEngine(model, word_tokenizer(), decoding(), batch_rows=2)


def test_images_tokens_are_no_part_of_the_probe():
    model = tiny_model("gemma3")
    ids = Probe(model)._texts
    assert not np.isin(ids, [0, 1, 2, model.config.image_token_index]).any()
    assert ids.max() < WORDS
    assert ids.shape[1] > WINDOW
