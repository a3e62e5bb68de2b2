"""The sample and credit stages with vLLM, in the real shell and a real store, on the quickstart's base model."""

from __future__ import annotations

import importlib.util

import pytest

from misstep.generation.vllm_engine import VllmEngine
from misstep.plan import params as p
from misstep.plan.kinds import StageKind
from tests.credit.inputs import DECODING, PROMPT, World, answered
from tests.credit.test_stages import credit_params

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here: `make vllm` installs it"
    ),
]

VLLM = DECODING.model_copy(update={"engine": "vllm"})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def inputs(world):
    return world.commit_all(*answered(36, 8))


def test_samples_of_a_few_shot_prompt_share_its_blocks(world, inputs):
    example = ("start 5. add 2, 3 times.", "5 7 9 11\n#### 11")
    prompt = PROMPT.model_copy(update={"examples": (example,)})
    params = p.SampleParams(split="train", subset=p.SubsetParams(size=36, seed=0), samples=4, seed=0, prompt=prompt,
                            decoding=VLLM.model_copy(update={"max_new_tokens": 24}))  # fmt: skip
    key = world.run(StageKind.SAMPLE, {"problems": inputs["problems"]}, params, block_rows=8)
    rows, summary = world.rows(key, "samples"), world.summary(key)
    assert len(rows) == summary["samples"] == 36 * 4
    assert [row["sample"] for row in rows] == [0, 1, 2, 3] * 36
    assert summary["prefill_tokens"] == sum(len(row["prompt_ids"]) for row in rows) == 4 * summary["prompt_tokens"]
    longest = max(len(row["prompt_ids"]) for row in rows)
    assert longest >= 32 and 0 < summary["cached_prefill_tokens"] < summary["prefill_tokens"]
    # Other blocks, and so other batches and hand-overs: the same samples.
    again = world.run(StageKind.SAMPLE, {"problems": inputs["problems"]}, params, block_rows=36)
    assert world.rows(again, "samples") == rows


def test_credit_finds_the_same_pits_at_temperature_0_and_says_what_it_cached(world, inputs):
    greedy = {"temperature": 0.0}
    found = {}
    for decoding in (DECODING, VLLM):
        params = credit_params(decoding=decoding.model_copy(update=greedy))
        found[decoding.engine] = world.run(StageKind.CREDIT, inputs, params)
    ours, theirs = (world.rows(found[name], "rollouts") for name in ("vllm", "transformers"))
    assert ours == theirs and len(ours) > 100
    assert world.rows(found["vllm"], "negatives") == world.rows(found["transformers"], "negatives")
    summary = world.summary(found["vllm"])
    assert summary["prefill_tokens"] == 5 * summary["prompt_tokens"]
    assert 0 < summary["cached_prefill_tokens"] < summary["prefill_tokens"]
    shared = world.summary(found["transformers"])  # one prefill a prefix and all but its last token shared, or nearly
    most = 4 * (shared["prompt_tokens"] - shared["prefixes"])
    assert 0.9 * most < shared["cached_prefill_tokens"] <= most


def test_adaptive_credit_is_the_same_whether_blocks_overlap_or_not(world, inputs, monkeypatch):
    """Blocks of eight problems: with overlap, vLLM draws for two blocks and reads the next one's steps meanwhile."""
    params = credit_params(decoding=VLLM, estimator="adaptive", target_error=0.1, audit_percent=20, oracle="strides")
    together = world.run(StageKind.CREDIT, inputs, params, block_rows=8)
    monkeypatch.setattr(VllmEngine, "overlaps", False)
    apart = world.run(StageKind.CREDIT, inputs, params, block_rows=8)
    for table in ("negatives", "rollouts", "audits"):
        assert world.rows(together, table) == world.rows(apart, table)
    summary = world.summary(together)
    assert summary["rollouts"] > 50
    assert summary["true_errors"]["exact"] > 0.7 * summary["pits"]
