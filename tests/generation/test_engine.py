from __future__ import annotations

import math
from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from misstep.errors import BadInput, MisstepError
from misstep.generation.decoders import OrdinaryDecoder
from misstep.generation.ends import end_of_turn_id, special_ids
from misstep.generation.engine import Request
from misstep.generation.text import decode
from misstep.generation.transformers_engine import TransformersEngine
from tests.generation.tiny import END, WORDS, byte_tokenizer, decoding, logprobs, tiny, word_tokenizer

SIGNIFICANCE = 1e-6
"""Probability that a correct engine would fail a statistical test here with other seeds."""
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def engine_of(model=None, tokenizer=None, rows=8, **changes):
    return TransformersEngine(model or tiny(), tokenizer or word_tokenizer(), decoding(**changes), batch_rows=rows)


def run(engine, requests):
    for request in requests:
        engine.submit(request)
    return {request.request_id: completions for request, completions in engine.results()}


@cache
def exact_model():
    """In double precision other batches round to the same samples, for all that tests can tell."""
    return tiny(dtype=torch.float64)


prompts = st.lists(st.integers(2, WORDS - 1), min_size=1, max_size=9)
jobs = st.lists(st.tuples(prompts, st.lists(st.integers(0, 2**64 - 1), max_size=7)), min_size=1, max_size=9)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(jobs, st.integers(1, 9), st.randoms(use_true_random=False), st.sampled_from([0.0, 0.7, 1.0]))
def test_a_sample_depends_on_prompt_and_seed_alone(jobs, rows, rng, temperature):
    alone = {}
    for number, (prompt, seeds) in enumerate(jobs):
        single = engine_of(exact_model(), rows=1, temperature=temperature, top_p=0.95)
        for index, seed in enumerate(seeds):
            (alone[number, index],) = run(single, [Request(0, prompt, [seed])])[0]
    requests = [Request(number, prompt, seeds) for number, (prompt, seeds) in enumerate(jobs)]
    rng.shuffle(requests)
    found = run(engine_of(exact_model(), rows=rows, temperature=temperature, top_p=0.95), requests)
    assert {number: len(completions) for number, completions in found.items()} == {
        number: len(seeds) for number, (_, seeds) in enumerate(jobs)
    }
    for number, completions in found.items():
        for index, completion in enumerate(completions):
            expected = alone[number, index]
            assert completion.token_ids == expected.token_ids
            assert completion.finish_reason == expected.finish_reason
            assert completion.logprob == pytest.approx(expected.logprob, abs=1e-9)


def test_the_same_requests_give_the_same_bits():
    requests = [Request(i, [2 + i % 20] * (1 + i % 5), range(i, i + 6)) for i in range(20)]
    model = tiny()
    first = run(engine_of(model, rows=16), requests)
    again = engine_of(model, rows=16)
    assert run(again, requests) == first
    assert run(again, requests) == first  # the engine keeps nothing of what it did


def test_other_batches_differ_only_where_tokens_nearly_tie():
    model = tiny()
    requests = [Request(i, [2 + i % 20, 3, 4], range(100 * i, 100 * i + 40)) for i in range(20)]
    one, other = (run(engine_of(model, rows=rows), requests) for rows in (64, 7))
    samples = [(i, j) for i in one for j in range(40)]
    unlike = [(i, j) for i, j in samples if one[i][j].token_ids != other[i][j].token_ids]
    assert len(unlike) <= len(samples) // 200
    for i, j in set(samples) - set(unlike):
        assert one[i][j].logprob == pytest.approx(other[i][j].logprob, abs=1e-4)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_logprobs_are_those_of_a_full_forward_pass(kind):
    model = tiny(kind)
    found = run(engine_of(model, temperature=0.6, top_p=0.9), [Request(i, [5, 6 + i], [1, 2, 3]) for i in range(4)])
    for i, completions in found.items():
        for completion in completions:
            exact = sum(logprobs(model, [5, 6 + i], completion.token_ids))
            assert completion.logprob == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.3, 0.8)])
def test_two_tokens_come_as_often_as_the_model_says(temperature, top_p):
    model, prompt, count = tiny(), [5, 9, 2], 20_000
    engine = engine_of(model, rows=500, temperature=temperature, top_p=top_p, max_new_tokens=2)
    found = Counter(c.token_ids for c in run(engine, [Request(0, prompt, range(count))])[0])
    expected: dict[tuple[int, ...], float] = {}
    for first, p in _distribution(model, prompt, temperature, top_p).items():
        if first == END:
            expected[(END,)] = p
            continue
        for second, q in _distribution(model, [*prompt, first], temperature, top_p).items():
            expected[first, second] = p * q
    assert set(found) <= set(expected)
    cells = sorted(expected, key=expected.__getitem__, reverse=True)
    often = [cell for cell in cells if expected[cell] * count >= 10]
    seen = [found[cell] for cell in often]
    wanted = [expected[cell] * count for cell in often]
    if count - sum(wanted) > 1:  # the rare ones, together
        seen, wanted = [*seen, count - sum(seen)], [*wanted, count - sum(wanted)]
    assert len(seen) > 5
    assert stats.chisquare(seen, np.array(wanted) * count / sum(wanted)).pvalue > SIGNIFICANCE


def _distribution(model, ids, temperature, top_p):
    """The next token's probabilities, plainly: sorted, cut where the sum reaches top_p, scaled."""
    with torch.inference_mode():
        scores = model(torch.tensor([ids])).logits[0, -1].double() / temperature
    ranked = sorted(enumerate(scores.softmax(-1).tolist()), key=lambda pair: -pair[1])
    kept, mass = {}, 0.0
    for token, p in ranked:
        if mass >= top_p:
            break
        kept[token] = p
        mass += p
    return {token: p / mass for token, p in kept.items()}


def test_an_end_token_is_the_last_and_not_in_the_text():
    model, tokenizer = tiny(), word_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["w7"]})  # a second end may not be ordinary text
    model.generation_config.eos_token_id = [END, 7]
    completions = run(engine_of(model, tokenizer), [Request(0, [5, 6], range(300))])[0]
    ends = Counter(c.token_ids[-1] for c in completions if c.finish_reason == "stop")
    assert set(ends) == {END, 7}
    for completion in completions:
        body = completion.token_ids[:-1]
        assert not {END, 7} & set(body)
        if completion.finish_reason == "length":
            assert len(completion.token_ids) == 12
            body = completion.token_ids
        assert completion.text == " ".join(f"w{i}" if i else "" for i in body if i)


def test_the_end_of_a_chat_turn_ends_a_response():
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    assert end_of_turn_id(tokenizer, special_ids(tokenizer)) is None
    tokenizer.chat_template = CHATML
    assert end_of_turn_id(tokenizer, special_ids(tokenizer)) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    completions = run(
        engine_of(tiny(vocab_size=len(tokenizer)), tokenizer, max_new_tokens=200), [Request(0, [9], range(20))]
    )
    tokens = [c.token_ids for c in completions[0] if c.finish_reason == "stop"]
    assert any(ids[-1] == end_of_turn_id(tokenizer, special_ids(tokenizer)) for ids in tokens)


STOPS = ["ab", "\n", " ", "€", "é\n", "zz", "ba", "a b"]


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(STOPS), min_size=1, max_size=3, unique=True), st.integers(0, 1000))
def test_a_stop_string_ends_a_response_at_any_token_boundary(stops, seed):
    model, tokenizer = _writer()
    requests = [Request(i, [tokenizer.convert_tokens_to_ids("a")], range(seed, seed + 6)) for i in range(2)]
    free = run(engine_of(model, tokenizer, max_new_tokens=30), requests)
    found = run(engine_of(model, tokenizer, max_new_tokens=30, stop=tuple(stops)), requests)
    for i, completions in found.items():
        for completion, unstopped in zip(completions, free[i], strict=True):
            whole = unstopped.token_ids
            texts = [decode(tokenizer, whole[: n + 1]) for n in range(len(whole))]
            first = next((n for n, text in enumerate(texts) if any(stop in text for stop in stops)), None)
            if first is None:
                assert (completion.token_ids, completion.text) == (whole, unstopped.text)
                assert completion.finish_reason == unstopped.finish_reason
                continue
            assert completion.token_ids == whole[: first + 1]
            assert completion.finish_reason == "stop"
            assert completion.text == texts[first][: min(texts[first].find(s) for s in stops if s in texts[first])]


@cache
def _writer():
    """A model whose output is mostly a few letters, spaces, line breaks and characters of several bytes."""
    tokenizer = byte_tokenizer([("a", "b"), ("Ċ", "a"), ("Ġ", "b"), ("a", "Ġ")])
    model = tiny(vocab_size=len(tokenizer), seed=3)
    liked = set(tokenizer("ab zé€\n", add_special_tokens=False)["input_ids"]) | set(range(258, len(tokenizer)))
    liked |= {i for text in "é€" for i in tokenizer(text)["input_ids"]} | {END}
    with torch.no_grad():
        model.lm_head.weight.mul_(0.3)
        model.lm_head.bias = torch.nn.Parameter(torch.full((len(tokenizer),), -6.0))
        model.lm_head.bias[sorted(liked)] = 0.0
    return model.double(), tokenizer


def test_limits_of_tokens_and_context():
    engine = engine_of(tiny(max_position_embeddings=16), max_new_tokens=10)
    assert engine.context_length == 16
    never_ends = {
        "short": Request("short", [5] * 3, range(30)),
        "own limit": Request("own limit", [5] * 3, range(30), max_new_tokens=4),
        "context": Request("context", [5] * 13, range(30)),
        "nothing left": Request("nothing left", [5], [1, 2], max_new_tokens=0),
        "no samples": Request("no samples", [5], []),
    }
    found = run(engine, never_ends.values())
    assert set(found) == set(never_ends)
    for name, limit in (("short", 10), ("own limit", 4), ("context", 3), ("nothing left", 0)):
        assert max(len(c.token_ids) for c in found[name]) == limit
        assert all(len(c.token_ids) == limit for c in found[name] if c.finish_reason == "length")
        assert all(c.token_ids[-1] == END for c in found[name] if c.finish_reason == "stop")
    assert found["no samples"] == ()
    assert {(c.text, c.logprob) for c in found["nothing left"]} == {("", 0.0)}


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [([], "1 to 63 tokens"), ([5] * 64, "1 to 63 tokens"), ([WORDS], "knows 24 tokens"), ([-1], "knows 24 tokens")],
)
def test_bad_prompts_are_refused_by_name(prompt, reason):
    with pytest.raises(BadInput, match=reason) as caught:
        engine_of().submit(Request("problem 7", prompt, [1]))
    assert "problem 7" in str(caught.value)


def test_more_may_be_submitted_while_results_are_read():
    engine = engine_of(rows=3)
    engine.submit(Request(0, [5, 6], [1, 2]))
    order = []
    for request, completions in engine.results():
        order.append(request.request_id)
        assert len(completions) == len(request.seeds)
        if len(order) < 6:
            engine.submit(Request(len(order), [5, 6, len(order)], range(len(order))))
    assert sorted(order) == list(range(7)) or sorted(order) == list(range(6))
    assert list(engine.results()) == []


def test_an_iteration_left_early_is_gone_on_with():
    requests = [Request(i, [5, 6], [i]) for i in range(20)]
    whole = run(engine_of(exact_model(), rows=4), requests)
    engine = engine_of(exact_model(), rows=4)
    for request in requests:
        engine.submit(request)
    request, completions = next(engine.results())
    found = {request.request_id: completions} | {r.request_id: c for r, c in engine.results()}
    assert {i: c[0].token_ids for i, c in found.items()} == {i: c[0].token_ids for i, c in whole.items()}


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_no_step_has_more_rows_than_asked_and_prompts_are_prefilled_once(kind, monkeypatch):
    engine = engine_of(tiny(kind), rows=6)
    decoder = engine._decoder
    rows, prefilled = [], []
    step, prefill = decoder.step, decoder.prefill
    monkeypatch.setattr(decoder, "step", lambda tokens, at: (rows.append(len(tokens)), step(tokens, at))[1])
    monkeypatch.setattr(
        decoder, "prefill", lambda first, given, columns: (prefilled.extend(given), prefill(first, given, columns))[1]
    )
    run(engine, [Request(i, [5, 6, 2 + i], range(4)) for i in range(8)] + [Request("many", [7] * 9, range(40))])
    assert max(rows) == 6
    if not isinstance(decoder, OrdinaryDecoder):
        assert prefilled.count([5, 6, 2]) == 1
        assert prefilled.count([7] * 9) < 6  # forty samples, six rows: again only when the last row had gone


def test_the_queue_takes_no_memory_of_the_model(monkeypatch):
    engine = engine_of(rows=4)
    sizes = []
    step = engine._decoder.step
    monkeypatch.setattr(
        engine._decoder,
        "step",
        lambda tokens, at: (
            sizes.append(sum(b.numel() for b in engine._decoder._cache._buffers.values())),
            step(tokens, at),
        )[1],
    )
    for count in (5, 50):
        sizes.clear()
        run(engine, [Request(i, [5, 6, 7], [i]) for i in range(count)])
        assert max(sizes) == 2 * 2 * 4 * 2 * 32 * 8  # layers, keys and values, rows, heads, columns, head size
        assert not engine._decoder._cache._buffers


def test_the_model_is_left_as_it_was():
    model = tiny(attention_dropout=0.5)
    model.train()
    attention = model.config._attn_implementation
    state = torch.random.get_rng_state()
    run(engine_of(model), [Request(0, [5, 6], range(9))])
    assert model.training
    assert model.config._attn_implementation == attention
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_diverged_model_is_an_error_not_a_sample():
    model = tiny()
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    with pytest.raises(MisstepError, match="not finite"):
        run(engine_of(model), [Request(0, [5, 6], [1])])


def test_likely_samples_have_higher_logprobs_when_cold():
    means = []
    for temperature in (0.0, 0.5, 1.0, 2.0):
        completions = run(engine_of(temperature=temperature), [Request(0, [5, 6], range(200))])[0]
        means.append(sum(c.logprob for c in completions) / sum(len(c.token_ids) for c in completions))
    assert all(colder > hotter for colder, hotter in pairwise(means))


def test_a_closed_engine_lets_go_of_the_model():
    engine = engine_of()
    engine.submit(Request(0, [5], [1]))
    engine.close()
    assert not hasattr(engine, "_model")
