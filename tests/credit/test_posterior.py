"""The posterior of the pit against brute force and simulation."""

from __future__ import annotations

import math
import random
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln

from misstep.credit.posterior import (
    CONCENTRATION,
    RECOVERY,
    SHARPNESS,
    PitPosterior,
    SolvedRates,
    StepScores,
    fit_sharpness,
)
from misstep.credit.values import Counts

DRAWS = st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=25)
PRIORS = st.lists(st.floats(0.01, 1), min_size=5, max_size=5).map(lambda w: [each / math.fsum(w) for each in w])
RATES = st.floats(0.05, 0.95)


def by_definition(prior: list[float], rate: float, draws: list[tuple[int, bool]]) -> list[float]:
    """Return the posterior from the Beta-binomial likelihoods of all prefixes, for each place of the pit."""
    before, after = (CONCENTRATION * rate, CONCENTRATION * (1 - rate)), RECOVERY
    weights = []
    for pit, share in enumerate(prior, 1):
        log = math.log(share)
        for prefix in range(1, len(prior)):
            solved = sum(ok for place, ok in draws if place == prefix)
            failed = sum(not ok for place, ok in draws if place == prefix)
            a, b = before if prefix < pit else after
            log += float(betaln(a + solved, b + failed) - betaln(a, b))
        weights.append(math.exp(log))
    return [weight / math.fsum(weights) for weight in weights]


@given(PRIORS, RATES, DRAWS)
def test_it_is_what_its_definition_says_in_any_order_of_draws(prior, rate, draws):
    posterior = PitPosterior(prior, rate)
    posterior.add(draws)
    assert posterior.weights == pytest.approx(by_definition(prior, rate, draws), abs=1e-9)
    mixed = PitPosterior(prior, rate)
    for draw in random.Random(len(draws)).sample(draws, len(draws)):
        mixed.add([draw])
    assert mixed.weights == pytest.approx(posterior.weights, abs=1e-9)
    alive = posterior.alive()
    assert alive[0] == pytest.approx(1)
    assert alive[-1] == 0
    assert alive == sorted(alive, reverse=True)


@given(PRIORS, RATES, DRAWS)
def test_information_is_the_expected_fall_of_entropy(prior, rate, draws):
    def entropy(weights: list[float]) -> float:
        return -math.fsum(weight * math.log(weight) for weight in weights if weight > 0)

    posterior = PitPosterior(prior, rate)
    posterior.add(draws)
    for prefix, gain in enumerate(posterior.information()):
        if prefix == 0:
            assert gain == 0
            continue
        expected = 0.0
        for solved, chance in ((True, posterior.success(prefix)), (False, 1 - posterior.success(prefix))):
            after = posterior.copy()
            after.add([(prefix, solved)])
            expected += chance * entropy(after.weights)
        assert gain == pytest.approx(max(0.0, entropy(posterior.weights) - expected), abs=1e-9)


@given(PRIORS, RATES, DRAWS, PRIORS)
def test_another_prior_keeps_what_was_learned(prior, rate, draws, other):
    posterior = PitPosterior(prior, rate)
    posterior.add(draws)
    posterior.expect(other)
    assert posterior.weights == pytest.approx(by_definition(other, rate, draws), abs=1e-9)


def test_a_success_rules_out_earlier_pits_and_failures_speak_for_them():
    posterior = PitPosterior([0.25] * 4, 0.6)
    posterior.add([(2, True)])
    assert posterior.weights[0] + posterior.weights[1] < 0.04
    posterior.add([(3, False)] * 4)
    assert posterior.pit == 3
    assert posterior.certainty > 0.8


@given(st.lists(st.floats(-12, 0), min_size=1, max_size=12), st.sampled_from(SHARPNESS))
def test_the_prior_is_a_distribution_that_rules_out_no_step_and_grows_with_surprise(logprobs, sharpness):
    prior = StepScores(logprobs, 0.5, 8).prior(sharpness)
    assert math.fsum(prior) == pytest.approx(1)
    assert min(prior) > 0
    order = sorted(range(len(prior)), key=lambda step: logprobs[step])
    assert all(prior[a] >= prior[b] - 1e-12 for a, b in pairwise(order))


def test_a_step_that_the_policy_always_takes_is_hardly_ever_the_pit():
    prior = StepScores([math.log(0.5), math.log(0.999), math.log(0.5)], 0.5, 8).prior(sharpness=0)
    assert prior[1] < 0.01
    assert prior[0] == prior[2]


@given(st.lists(st.floats(-12, 0), min_size=1, max_size=12), st.data())
def test_a_draw_leaves_somewhere_or_repeats_everything(logprobs, data):
    prefix = data.draw(st.integers(0, len(logprobs) - 1))
    landing = StepScores(logprobs, 0.5, 8).landing(prefix)
    assert len(landing) == len(logprobs)
    assert landing[:prefix] == [0.0] * prefix
    assert math.fsum(landing) + math.exp(math.fsum(logprobs[prefix:])) == pytest.approx(1)


@pytest.mark.parametrize(("truth", "found"), [(0.0, (0.0,)), (2.0, (1.5, 2.0, 2.5))])
def test_the_sharpness_of_a_run_is_recovered(truth, found):
    """200 responses whose pit is drawn from the prior of a known sharpness, with four draws from each prefix."""
    rng = random.Random(5)
    responses = []
    for _ in range(200):
        scores = StepScores([-rng.expovariate(1.0) for _ in range(5)], 0.6, 8)
        pit = rng.choices(range(1, 6), scores.prior(truth))[0]
        posterior = PitPosterior([0.2] * 5, 0.6)
        for prefix, _ in product(range(1, 5), range(4)):
            posterior.add([(prefix, rng.random() < (0.6 if prefix < pit else 0.01))])
        responses.append((scores, posterior.likelihoods()))
    assert fit_sharpness(responses) in found


def test_with_nothing_to_learn_from_the_sharpness_is_one():
    assert fit_sharpness([]) == 1


def test_the_posterior_is_calibrated_where_its_model_holds():
    """Of 2,000 simulated responses the share whose likeliest step is the pit is what the posteriors expect."""
    rng = random.Random(3)
    hits = expected = 0.0
    for _ in range(2000):
        pit = rng.randrange(1, 6)
        rate = 0.5
        rates = [
            rng.betavariate(CONCENTRATION * rate, CONCENTRATION * (1 - rate)) if i < pit else rng.betavariate(*RECOVERY)
            for i in range(1, 5)
        ]
        posterior = PitPosterior([0.2] * 5, rate)
        for _ in range(6):  # chosen by what came out before, as the search does
            prefix = max(range(1, 5), key=lambda i: posterior.information()[i])
            posterior.add([(prefix, rng.random() < rates[prefix - 1])])
        hits += posterior.pit == pit
        expected += posterior.certainty
    # A binomial standard deviation is about 1 point.
    assert hits / 2000 == pytest.approx(expected / 2000, abs=0.03)


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(0, 16)), max_size=20))
def test_rates_are_fitted_to_solved_problems_and_lie_between_0_and_1(problems):
    counts = [Counts(rollouts, min(correct, rollouts), 0) for rollouts, correct in problems]
    rates = SolvedRates.fitted(counts)
    assert rates.a > 0
    assert rates.b > 0
    for count in counts:
        assert 0 < rates.of(count) < 1


def test_the_fitted_rates_have_the_mean_of_the_samples():
    counts = [Counts(16, correct, 0) for correct in (2, 5, 8, 12, 15)]
    rates = SolvedRates.fitted([*counts, Counts(16, 0, 0)])  # a problem never solved is no evidence of a solved one
    assert rates.a / (rates.a + rates.b) == pytest.approx(42 / 80)
