"""The vLLM engine against the transformers engine, on real models and a real vLLM."""

from __future__ import annotations

import importlib.util
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from misstep.errors import BadInput
from misstep.generation.engine import Request
from misstep.generation.engines import open_engine
from misstep.generation.seeds import sample_seed
from misstep.generation.vllm_setup import cpu_cache_mib, parse_arguments
from misstep.plan.frozen import Resources
from tests.generation.tiny import END, WORDS, byte_tokenizer, decoding, tiny, word_tokenizer

ROOT = Path(__file__).parents[2]
BASE = ROOT / "examples" / "quickstart-base"
ALPHA = 1e-3
"""Probability that a correct engine would fail the statistical test here with other seeds."""

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here: `make vllm` installs it"
)
slow = pytest.mark.slow


@contextmanager
def opened(folder, engine="vllm", rows=32, memory=1600, gpus=0, **changes):
    resources = Resources(cpus=1, memory_mib=memory, batch_rows=rows, gpus=gpus)
    found = open_engine(folder, decoding(engine=engine, **changes), resources)
    try:
        yield found
    finally:
        found.close()


def run(engine, requests):
    for request in requests:
        engine.submit(request)
    return {request.request_id: completions for request, completions in engine.results()}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A random Qwen2 with a long context."""
    folder = tmp_path_factory.mktemp("qwen2")
    model = tiny("qwen2", seed=5, max_position_embeddings=256, hidden_size=128, head_dim=32)
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A random Llama that mostly writes a few letters, spaces, line breaks and characters of several bytes."""
    folder = tmp_path_factory.mktemp("letters")
    tokenizer = byte_tokenizer([("a", "b"), ("Ċ", "a"), ("Ġ", "b"), ("a", "Ġ")])
    vocabulary = len(tokenizer)
    model = tiny(vocab_size=vocabulary, seed=3, hidden_size=128, head_dim=32, max_position_embeddings=256)
    liked = set(tokenizer("ab zé€\n", add_special_tokens=False)["input_ids"]) | set(range(258, vocabulary)) | {END}
    with torch.no_grad():
        model.lm_head.weight.mul_(0.3)
        model.lm_head.weight[sorted(set(range(vocabulary)) - liked)] *= 0.1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def base_requests(count, samples=1, **more):
    """Questions of the quickstart's task, as its base model reads them."""
    from misstep.generation.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(BASE)
    questions = [f"Start at {3 + i % 40}. Add {2 + i % 7} for {2 + i % 5} times." for i in range(count)]
    ids = [tokenizer(q, add_special_tokens=False)["input_ids"] for q in questions]
    return [Request(i, prompt, [sample_seed(7, i, n) for n in range(samples)], **more) for i, prompt in enumerate(ids)]


@slow
@needs_vllm
def test_greedy_tokens_are_those_of_the_transformers_engine(words):
    rng = np.random.default_rng(0)
    random = [Request(i, rng.integers(2, WORDS, 1 + i * 3).tolist(), [i]) for i in range(40)]
    for folder, requests in ((BASE, base_requests(60)), (words, random)):
        found = {}
        for name in ("transformers", "vllm"):
            with opened(folder, name, temperature=0.0, max_new_tokens=40) as engine:
                found[name] = run(engine, requests)
        assert found["vllm"].keys() == found["transformers"].keys()
        for i, (completion,) in found["vllm"].items():
            (expected,) = found["transformers"][i]
            assert (completion.token_ids, completion.text) == (expected.token_ids, expected.text)
            assert completion.finish_reason == expected.finish_reason


@slow
@needs_vllm
@needs_vllm
@slow
def test_log_probabilities_of_given_tokens_are_those_of_the_transformers_engine(words):
    rng = np.random.default_rng(4)
    texts = [
        (rng.integers(4, WORDS, size=size).tolist(), rng.integers(4, WORDS, size=length).tolist())
        for size, length in ((1, 5), (3, 1), (20, 30), (7, 0), (200, 56))  # the last one fills the context
    ]
    with opened(words, "transformers") as engine:
        right = engine.logprobs(texts)
    with opened(words) as engine:
        request = Request("meanwhile", [5, 6, 7], [1, 2])
        alone = run(engine, [request])
        engine.submit(request)
        found = engine.logprobs(texts)
        assert {request.request_id: completions for request, completions in engine.results()} == alone
    for ours, values, (_, response) in zip(found, right, texts, strict=True):
        assert len(ours) == len(values) == len(response)
        assert ours[:55] == pytest.approx(values[:55], abs=1e-3)
    assert found[4][55] == 0  # vLLM must leave room for one more token


def test_samples_come_as_often_as_from_the_transformers_engine():
    """A G-test of homogeneity over whole responses, by prompt: 6 prompts, 1,500 samples of each from either engine.

    Responses that came fewer than 10 times from both together are one class. The p-values of the prompts are combined
    by Fisher's method; the test fails below ALPHA.
    """
    requests = base_requests(6, samples=1500)
    found = {}
    for name in ("transformers", "vllm"):
        with opened(BASE, name, rows=256, temperature=0.7, top_p=0.9, max_new_tokens=12) as engine:
            found[name] = run(engine, requests)
    values, classes = [], 0
    for request in requests:
        one, other = (Counter(c.token_ids for c in found[n][request.request_id]) for n in ("transformers", "vllm"))
        often = [ids for ids, count in (one + other).items() if count >= 10]
        rare = [sum(c.values()) - sum(c[ids] for ids in often) for c in (one, other)]
        table = np.array([[c[ids] for ids in often] for c in (one, other)])
        table = np.column_stack([table, rare]) if sum(rare) >= 10 else table
        classes += table.shape[1]
        if table.shape[1] > 1:
            values.append(stats.chi2_contingency(table, lambda_="log-likelihood").pvalue)
    assert classes > 20 and len(values) >= 3
    assert stats.combine_pvalues(values).pvalue > ALPHA


@slow
@needs_vllm
def test_seeds_fix_samples_whatever_else_is_in_the_batch(words):
    rng = np.random.default_rng(1)
    prompts = [rng.integers(2, WORDS, n).tolist() for n in rng.integers(1, 150, 30)]
    seeds = [0, 1, 2**63, 2**64 - 1]
    requests = [Request(i, prompt, seeds) for i, prompt in enumerate(prompts)]
    with opened(words, rows=32, max_new_tokens=60) as engine:
        first = run(engine, requests)
        assert run(engine, requests) == first  # now from the prefix cache
        assert {i: run(engine, [requests[i]])[i] for i in range(4)} == {i: first[i] for i in range(4)}
    with opened(words, rows=3, max_new_tokens=60) as engine:
        assert run(engine, requests[::-1]) == first
    assert len({c.token_ids for c in first[0]}) > 1


@slow
@needs_vllm
def test_stop_strings_end_a_response_where_the_text_first_holds_one(letters):
    from misstep.generation.text import decode
    from misstep.generation.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(letters)
    prompt = tokenizer("a b\nab ", add_special_tokens=False)["input_ids"]
    requests = [Request(i, prompt[: i + 1], range(100 * i, 100 * i + 12)) for i in range(5)]
    with opened(letters, max_new_tokens=60) as engine:
        free = run(engine, requests)
    for stops, least in ((("ab",), 10), ((" ",), 10), (("é\n", "ba"), 1), (("\n", "€", "zz"), 10)):
        with opened(letters, max_new_tokens=60, stop=stops) as engine:
            found = run(engine, requests)
            assert run(engine, requests) == found  # nothing is left of requests that were broken off
        stopped = 0
        for i, completions in found.items():
            for completion, unstopped in zip(completions, free[i], strict=True):
                whole = unstopped.token_ids
                texts = [decode(tokenizer, whole[: n + 1]) for n in range(len(whole))]
                at = next((n for n, text in enumerate(texts) if any(stop in text for stop in stops)), None)
                if at is None:
                    assert completion == unstopped
                    continue
                stopped += 1
                assert completion.token_ids == whole[: at + 1]
                assert completion.finish_reason == "stop"
                assert completion.text == texts[at][: min(texts[at].find(s) for s in stops if s in texts[at])]
        assert stopped >= least


@slow
@needs_vllm
def test_limits_usage_and_prompts_that_cannot_be(words):
    with opened(words, max_new_tokens=10) as engine:
        assert engine.context_length == 256
        requests = {
            "short": Request("short", [5] * 3, range(20)),
            "own limit": Request("own limit", [5] * 3, range(20), max_new_tokens=4),
            "context": Request("context", [5] * 253, range(20)),
            "nothing left": Request("nothing left", [5], [1, 2], max_new_tokens=0),
            "no samples": Request("no samples", [5], []),
        }
        found = run(engine, requests.values())
        for name, limit in (("short", 10), ("own limit", 4), ("context", 3), ("nothing left", 0)):
            assert max(len(c.token_ids) for c in found[name]) == limit
            assert all(len(c.token_ids) == limit for c in found[name] if c.finish_reason == "length")
            assert all(c.token_ids[-1] == END for c in found[name] if c.finish_reason == "stop")
        assert found["no samples"] == ()
        # 253 tokens are 7 full blocks of 32, which all samples but the first find in the cache; short ones fill none.
        assert engine.usage.prefill_tokens == 20 * (3 + 3 + 253)
        assert engine.usage.cached_prefill_tokens >= 19 * 7 * 32
        for prompt, reason in (([], "1 to 255"), ([5] * 256, "1 to 255"), ([WORDS], "knows 24"), ([-1], "knows 24")):
            with pytest.raises(BadInput, match=reason):
                engine.submit(Request("problem 7", prompt, [1]))
        engine.submit(Request(0, [5, 6], [1]))
        more, seen = iter(range(1, 30)), []
        for request, _ in engine.results():
            seen.append(request.request_id)
            number = next(more, None)
            if number is not None:
                engine.submit(Request(number, [5, 6, 7], [number]))
        assert sorted(seen) == list(range(30))


@slow
@needs_vllm
def test_what_vllm_refuses_is_named(words, tmp_path):
    cases: list[tuple[dict[str, Any], str]] = [
        ({"engine_args": (("max_modl_len", "64"),)}, r"vllmArgs: max_modl_len\. vLLM's engine has no argument"),
        ({"engine_args": (("max_model_len", '"long"'),)}, r"vllmArgs: max_model_len = 'long'\. vLLM refuses it"),
        ({"engine_args": (("block_size", "-3"),)}, r"vllmArgs: block_size = -3\. vLLM refuses it"),
        ({"engine_args": (("block_size", "48"),)}, r"vllmArgs: block_size\. vLLM does not start with this: No common"),
        ({"engine_args": (("tensor_parallel_size", "2"),)}, r"tensor_parallel_size.*set spec\.resources\.sample\.gpus"),
        ({"engine_args": (("enable_chunked_prefill", "true"),)}, r"enable_chunked_prefill.*cannot split a prompt"),
        ({"gpus": 3}, r"gpus.*: 3\. vLLM spreads the model's 4 attention heads evenly.*\(1, 2\)"),
        ({"gpus": 1}, r"gpus.*: 1\. The vLLM of this environment is built for processor cores"),
        ({"memory": 900}, r"memory.*: 900Mi.*give 1088Mi or more"),
        ({"temperature": 0.001}, r"temperature.*: 0\.001.*0\.01"),
    ]
    for changes, message in cases:
        with pytest.raises(BadInput, match=message), opened(words, **changes):
            pass
    for name in ("empty", "ctrl"):
        (tmp_path / name).mkdir()
    with pytest.raises(BadInput, match=r"model: .*config\.json"), opened(tmp_path / "empty"):
        pass
    tiny("ctrl", n_embd=32, n_head=4, n_layer=2, dff=32, n_positions=64).save_pretrained(tmp_path / "ctrl")
    word_tokenizer().save_pretrained(tmp_path / "ctrl")
    with (
        pytest.raises(BadInput, match=r"model: .*ctrl\. vLLM refuses it: .*engine transformers"),
        opened(tmp_path / "ctrl"),
    ):
        pass
    with opened(words, engine_args=(("max_model_len", "64"),)) as engine:  # and what it takes, it takes
        assert engine.context_length == 64


@slow
@needs_vllm
def test_too_small_a_cache_is_refused_and_a_tight_one_changes_no_sample(tmp_path, words):
    long = tiny(max_position_embeddings=1 << 16, num_hidden_layers=8, hidden_size=128, head_dim=128)
    long.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    with (
        pytest.raises(BadInput, match=r"memory.*max_model_len in spec\.sampling\.vllmArgs"),
        opened(tmp_path, memory=1110),
    ):
        pass
    requests = [Request(i, [2 + i % 20] * (40 + i), range(4)) for i in range(16)]
    found = []
    for blocks in ("512", "20"):  # 20 blocks of 32 tokens hold three of these samples: others are set back and redone
        arguments = (("num_gpu_blocks_override", blocks),)
        with opened(words, rows=16, max_new_tokens=100, engine_args=arguments) as engine:
            found.append(run(engine, requests))
    assert found[0] == found[1]


def test_vllm_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    with pytest.raises(BadInput, match=r"spec\.sampling\.engine: vllm\. .*make vllm"), opened(BASE):
        pass


def test_arguments_are_read_as_json_or_text():
    given = (("a", "4"), ("b", "true"), ("c", "fp8"), ("d", '{"x": [1]}'))
    assert parse_arguments(given, on_cpu=True) == {"a": 4, "b": True, "c": "fp8", "d": {"x": [1]}}
    assert parse_arguments((("enable_chunked_prefill", "true"),), on_cpu=False) == {"enable_chunked_prefill": True}


def test_the_cache_takes_half_of_what_is_left():
    assert cpu_cache_mib(4096, 1024) == 1024
    with pytest.raises(BadInput, match="give 2088Mi or more"):
        cpu_cache_mib(2000, 1000)
