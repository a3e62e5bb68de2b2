"""DPO with shared prefixes against stock TRL and against the plain forward pass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)
from trl import DPOTrainer
from trl.trainer.utils import add_fused_lm_head

from misstep.generation.row_cache import UnsupportedAttentionError
from misstep.training.arguments import lora_config
from misstep.training.export import InitialModel
from misstep.training.prefix_attention import ATTENTION, use_shared_attention
from misstep.training.rows import PairRow
from misstep.training.schedule import MicroBatches, make_schedule
from misstep.training.shared_prefix import Costs, PairForward, difference, why_not
from misstep.training.trainers import DpoOnRows, collate_pairs
from tests.training import small

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
SHARE = Costs(weights=1, attention=0, causal_share=1.0, block_tokens=32)


def model_of(config: PretrainedConfig) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return model.train()


def rows_of(shapes: Sequence[tuple[int, int, int, int]], vocabulary: int = 50) -> list[PairRow]:
    """Pairs of so many tokens of prompt, chosen and rejected side, of which the sides' first ones are the same."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt, chosen, rejected, alike in shapes:
        ids = [rng.integers(3, vocabulary, length).astype(np.int32) for length in (prompt, chosen, rejected)]
        ids[2][:alike] = ids[1][:alike]
        rows.append(PairRow(*ids))
    return rows


STEPS = [(20, 9, 3, 0), (31, 4, 12, 0), (7, 15, 2, 2), (20, 6, 6, 3), (11, 1, 1, 0)]
WHOLE = [(1, 40, 38, 0), (3, 21, 44, 0), (2, 30, 30, 29)]
MADE = {"steps": STEPS, "whole": WHOLE, "one": STEPS[:1], "mixed": STEPS + WHOLE}


def batch_of(rows: Sequence[PairRow]) -> dict[str, torch.Tensor]:
    batch = collate_pairs(rows, 0)
    judged = batch.pop("completion_mask")
    return batch | {"labels": batch["input_ids"].masked_fill(judged == 0, -100)}


def loss_and_gradients(model: Any, forward: Any, batch: dict[str, torch.Tensor]) -> tuple[Any, torch.Tensor]:
    out = forward(**batch, use_cache=False, fused_lm_head=True)
    chosen, rejected = out.log_probs.sum(1).chunk(2)
    loss = -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).mean() - 0.1 * out.log_probs[: len(chosen)].mean()
    model.zero_grad()
    loss.backward()
    return out, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("shapes", MADE.values(), ids=MADE.keys())
@pytest.mark.parametrize("config", [LlamaConfig(**SMALL), Qwen2Config(**SMALL)], ids=["llama", "qwen2"])
@pytest.mark.parametrize("costs", [SHARE, Costs(64, 32, 0.5, 0)], ids=["always", "by-shape"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
def test_gradients_are_those_of_the_plain_forward_pass(
    config: PretrainedConfig, shapes: Any, costs: Costs, checkpointing: bool
):
    model = model_of(config)
    batch = batch_of(rows_of(shapes))
    plain, expected = loss_and_gradients(model, model, batch)
    if checkpointing:
        model.gradient_checkpointing_enable()
    with use_shared_attention(model):
        shared, found = loss_and_gradients(model, PairForward(model, costs), batch)
    assert (found - expected).norm() / expected.norm() < 1e-5
    for name in ("log_probs", "entropy", "mean_logits"):
        torch.testing.assert_close(shared[name], plain[name], rtol=1e-4, atol=2e-5)
    assert torch.equal(shared.is_top1, plain.is_top1)
    assert model.config._attn_implementation == "sdpa"
    assert not model.base_model._forward_hooks


def test_the_common_beginning_goes_through_the_model_once_and_only_judged_tokens_reach_the_head():
    model = model_of(LlamaConfig(**SMALL))
    rows = rows_of([(20, 9, 3, 0)] * 4)
    slots, judged = [], []
    model.base_model.layers[0].mlp.register_forward_hook(lambda _, args, out: slots.append(out.shape[1]))
    with use_shared_attention(model):
        model.base_model.register_forward_hook(lambda _, args, out: judged.append(out.last_hidden_state.shape[1]))
        PairForward(model, SHARE)(**batch_of(rows), use_cache=False, fused_lm_head=True)
    assert slots == [4 * (20 + 9 + 3)]
    assert judged == [4 * (9 + 3)]


class Stock(DPOTrainer):
    """TRL's trainer, with the reference in every step; it takes our batches, and rows as they are."""

    batches: MicroBatches

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def get_train_dataloader(self) -> Any:
        loader = DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)
        return self.accelerator.prepare(loader)


def losses_of(trainer: Any) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def both_losses(base: Path, folder: Path, rows: list[PairRow], nll: float = 0.0, beta: float = 0.3, **changes: Any):
    """The losses of each step of our trainer and of stock TRL, and our trainer."""
    run = small.dpo_run(rows, small.optimiser(**{"schedule": "constant", "warmup_percent": 0, **changes}), nll, beta)

    def settings(name: str) -> dict[str, Any]:
        start = InitialModel.load(base)
        arguments = run.arguments(make_schedule(len(rows), run.optimiser), folder / name)
        arguments.logging_steps = 1
        peft = lora_config(run.optimiser)
        tokenizer = start.trainers_tokenizer()
        torch.manual_seed(0)  # adapters start at random
        return {"model": start.model, "args": arguments, "processing_class": tokenizer, "peft_config": peft}

    ours = DpoOnRows(rows, run.optimiser, **settings("ours"))
    found = losses_of(ours)
    columns = {name: [getattr(row, name) for row in rows] for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
    given = settings("stock")
    given["args"].precompute_ref_log_probs = False
    given["args"].lr_scheduler_type = "constant"
    stock = Stock(train_dataset=Dataset.from_dict(columns), **given)
    params = run.optimiser
    stock.batches = MicroBatches([r.length for r in rows], params.batch_size, params.micro_batch_size, params.seed)
    return found, losses_of(stock), ours


SETTINGS = {
    "plain": {},
    "nll": {"nll": 0.5, "beta": 0.1},
    "high-beta": {"beta": 1.0},
    "lora": {"lora_rank": 4},
    "micro-batches": {"micro_batch_size": 2},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS.keys())
def test_losses_are_those_of_stock_trl(base: Path, tmp_path: Path, changes: dict[str, Any]):
    rows = small.pair_examples(32)
    found, expected, trainer = both_losses(base, tmp_path, rows, epochs=5, **changes)
    assert trainer._costs is not None
    assert len(found) == 20
    assert max(found) - min(found) > 0.02
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("shapes", [STEPS, WHOLE], ids=["steps", "whole"])
def test_losses_are_those_of_stock_trl_whatever_the_shape(base: Path, tmp_path: Path, shapes: Any):
    rows = rows_of(shapes, vocabulary=20)
    found, expected, trainer = both_losses(base, tmp_path, rows, epochs=20, batch_size=4, micro_batch_size=4)
    assert trainer._costs is not None
    assert found == pytest.approx(expected, abs=1e-4)


def test_losses_under_autocast_are_near_those_of_stock_trl(base: Path, tmp_path: Path):
    found, expected, trainer = both_losses(base, tmp_path, small.pair_examples(40), dtype="bfloat16")
    assert trainer._costs is not None
    assert found == pytest.approx(expected, abs=2e-2)


OTHERS = {
    "window": (MistralConfig(**SMALL, sliding_window=64), "does not see the whole text"),
    "experts": (MixtralConfig(**SMALL, num_local_experts=2), "mixture of experts"),
    "dropout": (LlamaConfig(**SMALL, attention_dropout=0.1), "dropout"),
    "eager": (LlamaConfig(**SMALL, attn_implementation="eager"), "cannot be replaced"),
    "dynamic": (
        LlamaConfig(**SMALL, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
        "depend on the length",
    ),
}


@pytest.mark.parametrize(("config", "reason"), OTHERS.values(), ids=OTHERS.keys())
def test_models_that_cannot_share_are_recognised_by_their_configuration(config: PretrainedConfig, reason: str):
    assert reason in str(why_not(model_of(config)))


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SMALL),
        Qwen2Config(**SMALL),
        Qwen3Config(**SMALL, head_dim=8),
        MistralConfig(**SMALL, sliding_window=None),
        GPT2Config(
            vocab_size=50, n_positions=64, n_embd=32, n_layer=2, n_head=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_models_that_share_pass_the_check(config: PretrainedConfig):
    model = model_of(config)
    assert why_not(model) is None
    assert Costs.of(model).weights > 0
    with torch.no_grad():
        assert difference(model, model) is None


def test_an_attention_that_wants_more_is_refused_by_the_check():
    layers = ["full_attention", "full_attention"]
    model = model_of(Gemma2Config(**SMALL, head_dim=8, layer_types=layers, attn_implementation="sdpa"))
    with torch.no_grad():
        assert "softcap" in str(difference(model, model))


def test_log_probabilities_that_differ_are_refused_by_the_check(monkeypatch: pytest.MonkeyPatch):
    model = model_of(LlamaConfig(**SMALL))
    original = model.base_model.rotary_emb.forward
    # Positions that are ignored: what follows the prompt stands where the sequence has it.
    monkeypatch.setattr(
        model.base_model.rotary_emb,
        "forward",
        lambda x, position_ids: original(x, torch.arange(position_ids.shape[1])[None].expand_as(position_ids)),
    )
    with torch.no_grad():
        assert "differ by" in str(difference(model, model))


def test_a_model_that_cannot_share_trains_as_trl_has_it_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    base = small.save_model(tmp_path / "base", attention_dropout=0.1)
    with caplog.at_level(logging.INFO, "misstep.training.shared_prefix"):
        found, _, trainer = both_losses(base, tmp_path, small.pair_examples(16), epochs=1)
    assert trainer._costs is None
    assert len(found) == 2
    assert [r.getMessage() for r in caplog.records] == [
        "the two sides of each pair are run separately: its attention has dropout"
    ]


def test_sharing_is_chosen_by_shape():
    on_cpu, on_gpu = Costs(100_000, 128, 1.0, 32), Costs(100_000, 128, 0.5, 256)
    assert on_cpu.worth_sharing(300, 80)
    assert on_gpu.worth_sharing(300, 80)
    assert on_cpu.worth_sharing(8, 400)
    assert not on_gpu.worth_sharing(8, 400), "a masked branch computes what a causal row leaves out"


def test_the_attention_is_in_place_for_packed_batches_alone(base: Path):
    model = InitialModel.load(base).model
    with use_shared_attention(model), pytest.raises(UnsupportedAttentionError), torch.no_grad():
        assert model.config._attn_implementation == ATTENTION
        model.base_model(input_ids=torch.tensor([[3, 4]]))
    assert model.config._attn_implementation == "sdpa"
