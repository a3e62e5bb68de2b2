from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from misstep.errors import MisstepError
from misstep.generation import draw
from misstep.generation.draw import choose, stream_keys, uniforms

MASK = (1 << 64) - 1
SIGNIFICANCE = 1e-6
"""Probability that a correct generator would fail a statistical test here with other seeds."""

seeds = st.integers(0, MASK)
logits = hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.floats(-8, 8, width=32))


def split_mix(state: int) -> int:
    """The finaliser of SplitMix64, on Python's integers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


@given(st.lists(st.tuples(seeds, st.integers(0, 10**6)), min_size=1, max_size=20))
def test_draws_are_those_of_the_published_generator(pairs):
    keys = stream_keys([seed for seed, _ in pairs])
    found = uniforms(keys, np.array([position for _, position in pairs]))
    golden = 0x9E3779B97F4A7C15
    for (seed, position), value in zip(pairs, found, strict=True):
        key = split_mix((seed + golden) & MASK)
        assert value == (split_mix((key + (position + 1) * golden) & MASK) >> 12) / 2**52
        assert 0 <= value < 1


def test_known_answers_of_splitmix64():
    # The first outputs of SplitMix64 from seed 1234567, as the published reference code prints them.
    golden = 0x9E3779B97F4A7C15
    states = np.array([(1234567 + golden * (i + 1)) & MASK for i in range(3)], dtype=np.uint64)
    assert draw._mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("axis", ["positions of one stream", "neighbouring streams"])
def test_draws_are_uniform_and_unrelated(axis):
    count = 100_000
    if axis == "neighbouring streams":
        values = uniforms(stream_keys(range(count)), np.zeros(count, dtype=np.int64))
    else:
        values = uniforms(np.repeat(stream_keys([7]), count), np.arange(count))
    assert stats.kstest(values, "uniform").pvalue > SIGNIFICANCE
    cells = np.histogram2d(values[:-1], values[1:], bins=10, range=[[0, 1], [0, 1]])[0].ravel()
    assert stats.chisquare(cells).pvalue > SIGNIFICANCE


@given(logits, st.data())
def test_a_token_is_the_inverse_of_the_cumulative_distribution(scores, data):
    draws = data.draw(hnp.arrays(np.float64, len(scores), elements=st.floats(0, 1 - 2**-52)))
    temperature = data.draw(st.sampled_from([0.3, 1.0, 1.7]))
    tokens, logprobs = choose(torch.from_numpy(scores), draws, temperature, 1.0)
    for row, u, token, logprob in zip(scores, draws, tokens, logprobs, strict=True):
        weights = np.exp((row - row.max()) / temperature)
        edges = np.concatenate([[0], weights.cumsum()]) / weights.sum()
        assert edges[token] - 1e-12 <= u <= edges[token + 1] + 1e-12
        exact = row[token] - row.max() - math.log(np.exp(row - row.max()).sum())
        assert logprob == pytest.approx(exact, abs=1e-12)


@given(logits, st.integers(0, 2**52 - 1), st.data())
def test_impossible_tokens_are_never_chosen(scores, step, data):
    possible = data.draw(st.integers(0, scores.shape[1] - 1))
    hidden = torch.from_numpy(scores).clone()
    hidden[:, torch.arange(scores.shape[1]) != possible] = -math.inf
    tokens, logprobs = choose(hidden, np.full(len(scores), step / 2**52), 1.0, 1.0)
    assert set(tokens) == {possible}
    assert set(logprobs) == {0.0}


@given(logits, st.floats(0.01, 0.99))
def test_top_p_keeps_the_fewest_most_probable_tokens(scores, top_p):
    weights = torch.from_numpy(scores).softmax(-1)
    kept = draw._nucleus(weights, top_p)
    for row, mask in zip(weights, kept, strict=True):
        least = row[mask].min()
        assert bool((row[~mask] < least).all())
        assert row[mask].sum() >= top_p - 1e-9
        assert row[row > least].sum() < top_p + 1e-9


def test_a_wide_nucleus_is_found_by_sorting_the_whole_vocabulary():
    size = 4 * draw._NUCLEUS_GUESS
    kept = draw._nucleus(torch.linspace(1, 2, size)[None], 0.9)[0]
    assert draw._NUCLEUS_GUESS < kept.sum() < size
    assert bool(kept[-1])
    assert not bool(kept[0])


def test_rows_are_cut_into_chunks_without_effect(monkeypatch):
    scores = torch.randn(37, 11, generator=torch.Generator().manual_seed(0))
    draws = uniforms(stream_keys(range(37)), np.zeros(37, dtype=np.int64))
    whole = choose(scores, draws, 0.8, 0.9)
    monkeypatch.setattr(draw, "_CHUNK_ELEMENTS", 50)
    for one, other in zip(whole, choose(scores, draws, 0.8, 0.9), strict=True):
        assert one.tolist() == other.tolist()


def test_temperature_zero_takes_the_most_probable():
    tokens, logprobs = choose(torch.tensor([[0.0, 2.0, 1.0]]), np.array([0.999]), 0.0, 1.0)
    assert tokens.tolist() == [1]
    assert logprobs[0] == pytest.approx(2 - math.log(1 + math.e**2 + math.e))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_an_error(bad):
    with pytest.raises(MisstepError, match="not finite"):
        choose(torch.tensor([[0.0, bad]]), np.array([0.5]), 1.0, 1.0)
