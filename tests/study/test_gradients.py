"""The measurement of directions: gradients against finite differences, figures against known clouds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quickstart.make_base import BASES
from study.gradients import _figures, pull, success_direction

from misstep.generation.loading import load_model

PROMPT, RIGHT, WRONG = [3, 20, 30], [31, 32, 33, 1], [40, 7, 1]


@pytest.fixture(scope="module")
def model():
    return load_model(BASES["strides"].committed, "float32")[0]


def log_probability(model, prompt, response):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0].double()
    rows = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    return float(sum(row[token] for row, token in zip(rows, response, strict=True)))


def test_a_pull_is_the_gradient_of_the_difference_of_log_probabilities(model):
    found = pull(model, PROMPT, RIGHT, WRONG)
    parameters = list(model.parameters())
    direction = found / np.linalg.norm(found)
    step, values = 1e-2, []
    for sign in (1, -1):
        at = 0
        for each in parameters:
            size = each.numel()
            each.data += sign * step * torch.from_numpy(direction[at : at + size]).view_as(each)
            at += size
        values.append(log_probability(model, PROMPT, RIGHT) - log_probability(model, PROMPT, WRONG))
        at = 0
        for each in parameters:
            size = each.numel()
            each.data -= sign * step * torch.from_numpy(direction[at : at + size]).view_as(each)
            at += size
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(np.linalg.norm(found), rel=0.02)


def test_the_mean_of_all_random_pairs_of_a_problem_is_its_direction_of_success(model):
    samples = [(PROMPT, RIGHT, True), (PROMPT, [31, 5, 1], True), (PROMPT, WRONG, False), (PROMPT, [9, 1], False)]
    right, wrong = ([response for _, response, good in samples if good is kind] for kind in (True, False))
    pulls = [pull(model, PROMPT, one, other) for one in right for other in wrong]
    assert success_direction(model, [samples]) == pytest.approx(np.mean(pulls, axis=0), abs=1e-3)


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_figures_of_a_cloud_are_its_alignment_and_its_noise(noise):
    rng = np.random.default_rng(0)
    mean = np.zeros(300)
    mean[0], mean[1] = 3.0, 4.0
    direction = np.zeros(300)
    direction[0] = 2.0
    pulls = (mean + noise * rng.standard_normal((600, 300))).astype(np.float32)
    found = _figures(pulls, [str(n // 2) for n in range(600)], direction.astype(np.float32), 2.0)
    assert found["alignment"] == pytest.approx(0.6, abs=0.02)
    assert found["noise"] == pytest.approx(noise**2 * 300 / 25, rel=0.1)
    assert found["cosine_50"] == pytest.approx(0.6 / np.sqrt(1 + found["noise"] / 50), rel=0.02)
