"""A tiny model of each architecture with its real tokenizer, through SFT, sampling, verdicts, credit, pairs and DPO."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from misstep.generation.text import decode_continuation
from misstep.plan import params as p
from misstep.plan.kinds import StageKind
from tests.credit.inputs import World
from tests.real_tokenizers.models import DISTINCT, PLAIN, RealTokenizer
from tests.training import small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sweep(keep=1),
    pytest.mark.parametrize("real", DISTINCT, indirect=True, scope="session"),
]
EPOCHS = 14
"""Enough to learn some of four solutions by heart, and to get others wrong."""
SAMPLES = 12
DECODING = p.DecodingParams(engine="transformers", dtype="float32", temperature=1.0, top_p=1.0, max_new_tokens=40)
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "initializer_range": 0.1,
}
MORE: dict[str, dict[str, Any]] = {
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 16},
    "gpt_oss": {"num_local_experts": 2, "num_experts_per_tok": 1, "tie_word_embeddings": True},
}


def save_model(real: RealTokenizer, folder: Path) -> Path:
    """Write random weights for a tokenizer's whole vocabulary, next to its files."""
    from transformers import AutoConfig

    kind = real.case.partition("-")[2]
    sizes = SIZES | MORE.get(kind, {})
    ends = {"bos_token_id": real.tokenizer.bos_token_id, "eos_token_id": sorted(real.ends), "pad_token_id": None}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, vocab_size=len(real.tokenizer), **sizes, **ends), dtype=torch.float32
    ).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).symlink_to((real.folder / name).resolve())
    return folder


def prompt_of(real: RealTokenizer) -> p.PromptParams:
    return p.PromptParams(style="chat", template="{question}") if real.tokenizer.chat_template else PLAIN


def problems() -> list[dict[str, Any]]:
    """Sums in two steps, with what real solutions hold; one question spells end tokens."""
    rows = []
    for number, (a, b) in enumerate([(2, 3), (4, 1), (6, 2), (5, 4)]):
        rows.append(
            {
                "problem_id": f"p{number}",
                "split": "train",
                "question": f"What is {a} + {b}?" + (" <|im_end|> </s>" if number == 0 else ""),
                "gold": str(a + b),
                "solution": f" Größe {b}.\n\n  So {a + b} 数\n#### {a + b}",
                "solution_verdict": "correct",
                "source": "table",
            }
        )
    return [*rows, {**rows[-1], "problem_id": "v", "split": "validation"}]


def optimiser(**changes: Any) -> p.OptimiserParams:
    return small.optimiser(**{"max_length": 200, "batch_size": 1, "micro_batch_size": 1, "warmup_percent": 0} | changes)


def test_a_model_goes_through_every_stage(real: RealTokenizer, tmp_path: Path):
    world = World(tmp_path / "store", save_model(real, tmp_path / "model"))
    subset = p.SubsetParams(size=4, seed=0)
    prompt, rows = prompt_of(real), problems()
    inputs = {"problems": world.commit(StageKind.PROBLEMS, "problems", rows, 1000)}
    selection = p.SelectionParams(epochs=(), patience=None, problems=1, decoding=DECODING, answer_format="hash", seed=0)
    sft = world.run(
        StageKind.SFT,
        inputs,
        p.SftParams(
            subset=subset,
            prompt=prompt,
            optimiser=optimiser(learning_rate=1e-2, epochs=EPOCHS, schedule="constant"),
            selection=selection,
        ),
    )
    assert (world.summary(sft)["rows"], world.summary(sft)["dropped"]) == (4, {})
    loss = [row["loss"] for row in world.rows(sft, "log")]
    assert loss[-1] < loss[0] / 2

    inputs["policy"] = sft
    inputs["samples"] = world.run(
        StageKind.SAMPLE,
        inputs,
        p.SampleParams(split="train", subset=subset, samples=SAMPLES, seed=0, prompt=prompt, decoding=DECODING),
    )
    inputs["verdicts"] = world.run(
        StageKind.VERIFY, inputs, p.VerifyParams(answer_format="hash", timeout_seconds=2.0, verifier="test")
    )
    builder = real.builder(prompt)
    questions = {row["problem_id"]: row["question"] for row in rows}
    samples = {(row["problem_id"], row["sample"]): row for row in world.rows(inputs["samples"], "samples")}
    for row in samples.values():
        assert row["prompt_ids"] == builder.prompt_ids(questions[row["problem_id"]])
        assert row["text"] == decode_continuation(real.tokenizer, row["token_ids"])
        assert (row["token_ids"][-1] in real.ends) == (row["finish_reason"] == "stop")
    solved = [s for s in samples.values() if s["token_ids"] in [builder.response_ids(r["solution"]) for r in rows]]
    verdicts = Counter(row["verdict"] for row in world.rows(inputs["verdicts"], "verdicts"))
    assert solved  # what SFT taught is what sampling writes, token by token
    assert min(verdicts["correct"], verdicts["wrong"]) >= 5, verdicts

    inputs["credit"] = world.run(
        StageKind.CREDIT,
        inputs,
        p.CreditParams(
            estimator="full-scan",
            rollouts=3,
            best_of=3,
            negatives_per_problem=2,
            max_negatives=None,
            max_steps=8,
            step_rule="lines",
            answer_format="hash",
            timeout_seconds=2.0,
            decoding=DECODING,
            seed=0,
        ),
    )
    prefixes = {row["prefix_id"]: row for row in world.rows(inputs["credit"], "prefixes")}
    negatives = world.rows(inputs["credit"], "negatives")
    for row in negatives:
        sample = samples[row["problem_id"], row["sample"]]
        assert (row["token_ids"], "".join(row["step_texts"])) == (sample["token_ids"], sample["text"])
        for end, name in zip([0, *row["step_ends"]], row["prefix_ids"], strict=True):
            assert name not in prefixes or prefixes[name]["token_ids"] == row["token_ids"][:end]
    assert any(len(row["step_ends"]) > 1 for row in negatives)

    for layout in ("random", "shared-prefix"):
        pairs = world.run(
            StageKind.PAIRS,
            {name: inputs[name] for name in ("problems", "samples", "verdicts", "credit")},
            p.PairsParams(layout=layout, per_problem=3, max_pairs=None, seed=0),
        )
        made = world.rows(pairs, "pairs")
        assert len(made) >= 3, world.summary(pairs)
        for row in made:
            sample = samples[row["problem_id"], row["negative_sample"]]
            both = [*row["prompt_ids"], *row["rejected_ids"]]
            assert both == [*sample["prompt_ids"], *sample["token_ids"]][: len(both)]
            for side in ("chosen", "rejected"):
                assert decode_continuation(real.tokenizer, row[f"{side}_ids"]) == row[f"{side}_text"]
            assert row["chosen_ids"][-1] in real.ends
            assert row["rejected_complete"] == (row["rejected_ids"][-1] in real.ends)

    dpo = world.run(
        StageKind.DPO,
        {"pairs": pairs, "policy": sft, "problems": inputs["problems"]},
        p.DpoParams(
            optimiser=optimiser(learning_rate=2e-3, epochs=3, batch_size=len(made)),
            beta=0.5,
            nll_weight=0.0,
            prompt=prompt,
            selection=None,
        ),
    )
    assert (world.summary(dpo)["rows"], world.summary(dpo)["dropped"]) == (len(made), {})
    loss = [row["loss"] for row in world.rows(dpo, "log")]
    # The policy is its own reference; for mixtures of experts TRL adds 0.001 times the routers' auxiliary loss.
    assert loss[0] == pytest.approx(math.log(2), abs=2e-3)
    assert loss[-1] < loss[0] - 0.02, loss
