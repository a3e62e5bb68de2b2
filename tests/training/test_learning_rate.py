from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from misstep.training.export import InitialModel
from misstep.training.learning_rate import rate_share, warmup_steps
from misstep.training.run import train
from misstep.training.schedule import make_schedule
from tests.training import small

schedules = st.sampled_from(["constant", "linear", "cosine"])


@given(schedules, st.integers(1, 3000), st.integers(0, 100))
def test_every_step_of_every_schedule_trains(schedule, steps, percent):
    warmup = warmup_steps(steps, percent)
    assert 0 <= warmup < steps
    shares = [rate_share(schedule, step, steps, warmup) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    assert shares[warmup] == 1
    assert all(before < after for before, after in pairwise(shares[: warmup + 1]))
    assert all(before >= after for before, after in pairwise(shares[warmup:]))
    if schedule != "constant":
        assert all(before > after for before, after in pairwise(shares[warmup:]))


def test_rates_as_the_documentation_gives_them():
    def shares(schedule: Any, steps: int, warmup: int) -> list[float]:
        return [rate_share(schedule, step, steps, warmup) for step in range(steps)]

    assert shares("constant", 5, 3) == [0.25, 0.5, 0.75, 1, 1]
    assert shares("linear", 6, 2) == pytest.approx([1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25])
    cosine = [(1 + math.cos(math.pi * s / 4)) / 2 for s in range(4)]
    assert shares("cosine", 5, 1) == pytest.approx([0.5, *cosine])


@given(schedules, st.integers(0, 100))
def test_a_run_of_one_step_has_the_whole_rate(schedule, percent):
    laid_out = make_schedule(5, small.optimiser(epochs=1, schedule=schedule, warmup_percent=percent))
    assert (laid_out.steps, laid_out.warmup_steps) == (1, 0)
    assert rate_share(schedule, 0, 1, 0) == 1


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("make", ["sft", "dpo"])
def test_a_run_of_one_step_changes_the_weights(base: Path, tmp_path: Path, make: str, schedule: str):
    params = small.optimiser(epochs=1, schedule=schedule, warmup_percent=100, weight_decay=0.0)
    run = (
        small.sft_run(small.sft_examples(5), params) if make == "sft" else small.dpo_run(small.pair_examples(5), params)
    )
    output = train(small.context(tmp_path, run), InitialModel.load(base), run)
    assert output.summary["steps"] == 1
    before, after = load_file(base / "model.safetensors"), load_file(output.files["model/model.safetensors"])
    # Adam's first step moves a weight by the learning rate, whatever its gradient.
    moved = torch.cat([(after[name] - before[name]).abs().flatten() for name in before])
    assert moved.max().item() == pytest.approx(params.learning_rate, rel=1e-3)
    assert small.table(output, "log")["learning_rate"].to_pylist() == [params.learning_rate]
