"""TRL's trainers as we run them, against hand-written loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import LlamaForCausalLM, MixtralConfig, MixtralForCausalLM
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from misstep.errors import BadInput
from misstep.training.cpu_speed import cheaper_steps, plan_bands
from misstep.training.export import InitialModel
from misstep.training.rows import IGNORED, PairRow, SftRow
from misstep.training.run import train
from misstep.training.schedule import MicroBatches
from misstep.training.trainers import DpoOnRows, collate_pairs, collate_sft
from tests.training import small

STEADY = {"schedule": "constant", "warmup_percent": 0, "epochs": 2}


def bare_losses(
    base: Path,
    lengths: Sequence[int],
    params: Any,
    loss_of: Callable[[LlamaForCausalLM, LlamaForCausalLM, list[int]], torch.Tensor],
    rates: Sequence[float] | None = None,
) -> list[float]:
    """Train in a plain loop: AdamW with decay on matrices alone, clipping, the same batches; ``rates`` by step, where
    they are not constant."""
    model, reference = (LlamaForCausalLM.from_pretrained(base, dtype=torch.float32) for _ in range(2))
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": params.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=params.learning_rate)
    batches = MicroBatches(lengths, params.batch_size, params.batch_size, params.seed)
    found: list[float] = []
    for epoch in range(params.epochs):
        batches.set_epoch(epoch)
        for batch in batches:
            loss = loss_of(model, reference, batch)
            optimizer.zero_grad()
            loss.backward()
            if rates is not None:
                for group in optimizer.param_groups:
                    group["lr"] = rates[len(found)]
            torch.nn.utils.clip_grad_norm_(model.parameters(), params.max_grad_norm)
            optimizer.step()
            found.append(loss.item())
    return found


def response_logps(model: LlamaForCausalLM, prompt: np.ndarray, response: np.ndarray) -> torch.Tensor:
    """Log-probability of each token of a response, one sequence by itself."""
    ids = torch.tensor([*prompt, *response])
    logps = model(input_ids=ids[None]).logits[0].log_softmax(-1)
    return logps[torch.arange(len(prompt) - 1, len(ids) - 1), ids[len(prompt) :]]


@pytest.mark.parametrize("micro", [8, 3, 1], ids=lambda n: f"micro{n}")
def test_sft_is_the_plain_loop(base: Path, tmp_path: Path, micro: int):
    rows = small.sft_examples(20)
    params = small.optimiser(**STEADY, batch_size=micro if micro == 3 else 8, micro_batch_size=micro)

    def loss_of(model: LlamaForCausalLM, reference: Any, batch: list[int]) -> torch.Tensor:
        parts = [rows[i] for i in batch]
        logps = [response_logps(model, r.input_ids[: r.prompt_tokens], r.input_ids[r.prompt_tokens :]) for r in parts]
        return -torch.cat(logps).mean()

    output = train(small.context(tmp_path, run := small.sft_run(rows, params)), InitialModel.load(base), run)
    expected = bare_losses(base, [r.length for r in rows], params, loss_of)
    assert small.losses(output) == pytest.approx(expected, rel=2e-4)
    assert small.losses(output)[-1] < small.losses(output)[0]


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1]),
        ("linear", [1 / 3, 2 / 3, 1, 3 / 4, 2 / 4, 1 / 4]),
        ("cosine", [1 / 3, 2 / 3, *((1 + math.cos(math.pi * step / 4)) / 2 for step in range(4))]),
    ],
)
def test_the_rate_that_is_logged_is_the_one_that_is_applied(base: Path, tmp_path: Path, schedule: str, shares: Any):
    rows = small.sft_examples(20)
    params = small.optimiser(epochs=2, schedule=schedule, warmup_percent=30)
    rates = [params.learning_rate * share for share in shares]

    def loss_of(model: LlamaForCausalLM, reference: Any, batch: list[int]) -> torch.Tensor:
        parts = [rows[i] for i in batch]
        logps = [response_logps(model, r.input_ids[: r.prompt_tokens], r.input_ids[r.prompt_tokens :]) for r in parts]
        return -torch.cat(logps).mean()

    output = train(small.context(tmp_path, run := small.sft_run(rows, params)), InitialModel.load(base), run)
    assert small.table(output, "log")["learning_rate"].to_pylist() == pytest.approx(rates)
    expected = bare_losses(base, [r.length for r in rows], params, loss_of, rates)
    assert small.losses(output) == pytest.approx(expected, rel=2e-4)


def weighted_loss(
    rows: Sequence[PairRow], model: LlamaForCausalLM, reference: LlamaForCausalLM, nll: float
) -> torch.Tensor:
    """The loss by its formula, pair by pair: sum(w l) / sum(w), and sum(w m) / sum(w n) for the chosen tokens."""
    losses, chosen = [], []
    for row in rows:
        chosen.append(response_logps(model, row.prompt_ids, row.chosen_ids))
        margin = chosen[-1].sum() - response_logps(model, row.prompt_ids, row.rejected_ids).sum()
        with torch.no_grad():
            of_chosen = response_logps(reference, row.prompt_ids, row.chosen_ids).sum()
            of_rejected = response_logps(reference, row.prompt_ids, row.rejected_ids).sum()
        losses.append(-functional.logsigmoid(0.3 * (margin - (of_chosen - of_rejected))))
    whole = sum(row.weight for row in rows)
    tokens = sum(row.weight * len(row.chosen_ids) for row in rows)
    loss = torch.stack([row.weight * each for row, each in zip(rows, losses, strict=True)]).sum() / whole
    likelihood = torch.stack([row.weight * each.sum() for row, each in zip(rows, chosen, strict=True)]).sum() / tokens
    return loss - nll * likelihood


def with_weights(rows: Sequence[PairRow], weights: Sequence[float]) -> list[PairRow]:
    return [replace(row, weight=weight) for row, weight in zip(rows, weights, strict=True)]


UNEQUAL = [0.05, 1.0, 0.4, 2.5, 0.9, 0.1, 1.7]
"""Weights of pairs, repeated over the rows."""


@pytest.mark.parametrize("micro", [8, 3, 1], ids=lambda n: f"micro{n}")
@pytest.mark.parametrize("weights", [[1.0], UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("nll", [0.0, 0.5])
def test_dpo_is_the_plain_loop(base: Path, tmp_path: Path, nll: float, weights: list[float], micro: int):
    rows = with_weights(small.pair_examples(20), [weights[n % len(weights)] for n in range(20)])
    params = small.optimiser(**STEADY, batch_size=micro if micro == 3 else 8, micro_batch_size=micro)

    def loss_of(model: LlamaForCausalLM, reference: LlamaForCausalLM, batch: list[int]) -> torch.Tensor:
        return weighted_loss([rows[i] for i in batch], model, reference, nll)

    output = train(small.context(tmp_path, run := small.dpo_run(rows, params, nll)), InitialModel.load(base), run)
    expected = bare_losses(base, [r.length for r in rows], params, loss_of)
    assert small.losses(output) == pytest.approx(expected, rel=2e-4)


def first_gradient(base: Path, folder: Path, rows: list[PairRow], nll: float, micro: int) -> dict[str, torch.Tensor]:
    """Train one step on all rows, and return the gradient of the starting weights, before it is clipped."""
    run = small.dpo_run(rows, small.optimiser(epochs=1, batch_size=len(rows), micro_batch_size=micro), nll)
    start = InitialModel.load(base)
    found: dict[str, torch.Tensor] = {}
    for name, weight in start.model.named_parameters():
        weight.register_post_accumulate_grad_hook(lambda w, name=name: found.update({name: w.grad.clone()}))
    train(small.context(folder, run), start, run)
    return found


@pytest.mark.parametrize("micro", [12, 4])
@pytest.mark.parametrize("nll", [0.0, 0.5])
def test_the_gradient_is_that_of_the_weighted_loss(base: Path, tmp_path: Path, nll: float, micro: int):
    rows = with_weights(small.pair_examples(12), [*UNEQUAL, *UNEQUAL[:5]])
    model, reference = (LlamaForCausalLM.from_pretrained(base, dtype=torch.float32) for _ in range(2))
    weighted_loss(rows, model, reference, nll).backward()
    found = first_gradient(base, tmp_path, rows, nll, micro)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=2e-6, msg=name)
    equal = first_gradient(base, tmp_path / "equal", with_weights(rows, [1.0] * 12), nll, micro)
    assert any(not torch.allclose(equal[name], found[name], rtol=0.05) for name in found)


@pytest.mark.parametrize("weight", [0.1, 3.0])
def test_equal_weights_give_the_bytes_of_no_weights(base: Path, tmp_path: Path, weight: float):
    def trained(each: float) -> tuple[list[float], dict[str, bytes]]:
        rows = with_weights(small.pair_examples(20), [each] * 20)
        run = small.dpo_run(rows, small.optimiser(micro_batch_size=2), nll_weight=0.2)
        output = train(small.context(tmp_path / f"{each}", run), InitialModel.load(base), run)
        return small.losses(output), small.bytes_of(output.files)

    assert trained(weight) == trained(1.0)


def test_weights_keep_the_auxiliary_loss_of_experts(tmp_path: Path):
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=len(small.VOCABULARY),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        num_local_experts=4,
        output_router_logits=True,
        router_aux_loss_coef=0.5,
        bos_token_id=None,
        eos_token_id=small.END,
        pad_token_id=0,
    )
    experts = tmp_path / "experts"
    MixtralForCausalLM(config).save_pretrained(experts)
    small.tokenizer().save_pretrained(experts)
    rows = small.pair_examples(8)
    almost = with_weights(rows, [1.0, 1.0 + 1e-9, *[1.0] * 6])
    found = []
    for name, each in (("equal", rows), ("almost", almost)):
        run = small.dpo_run(each, small.optimiser(epochs=2))
        found.append(small.losses(train(small.context(tmp_path / name, run), InitialModel.load(experts), run)))
    assert found[0][0] > math.log(2) + 0.1
    assert found[1] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("nll", [0.0, 0.5])
def test_a_pair_of_weight_2_counts_like_two_pairs(base: Path, tmp_path: Path, nll: float):
    rows = small.pair_examples(6)
    heavy = first_gradient(base, tmp_path / "heavy", with_weights(rows, [2.0, *[1.0] * 5]), nll, 2)
    twice = first_gradient(base, tmp_path / "twice", [rows[0], *rows], nll, 7)
    for name, gradient in twice.items():
        torch.testing.assert_close(heavy[name], gradient, rtol=1e-3, atol=2e-6, msg=name)


def test_the_first_dpo_loss_is_ln_2(base: Path, tmp_path: Path):
    run = small.dpo_run(small.pair_examples(40), small.optimiser(epochs=1))
    output = train(small.context(tmp_path, run), InitialModel.load(base), run)
    first = small.table(output, "log").to_pylist()[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["rewards_margin"] == pytest.approx(0, abs=1e-5)


def test_a_batch_of_pairs_holds_the_pairs_and_padding_and_nothing_else(base: Path, tmp_path: Path):
    rows = small.pair_examples(12)
    truncated = [side for row in rows for side in (row.chosen_ids, row.rejected_ids) if side[-1] != small.END]
    assert len(truncated) >= 8
    run = small.dpo_run(rows, small.optimiser(micro_batch_size=4))
    start = InitialModel.load(base)
    schedule = run_schedule(run)
    trainer = DpoOnRows(
        rows,
        run.optimiser,
        model=start.model,
        args=run.arguments(schedule, tmp_path),
        processing_class=start.trainers_tokenizer(),
    )
    wanted = sorted(
        [*row.prompt_ids.tolist(), *side.tolist()] for row in rows for side in (row.chosen_ids, row.rejected_ids)
    )
    seen, ends = [], 0
    for batch in trainer.get_train_dataloader():
        for ids, mask, judged in zip(
            batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True
        ):
            length = int(mask.sum())
            assert mask.tolist() == [1] * length + [0] * (len(ids) - length)
            assert (ids[length:] == 0).all()
            assert not judged[length:].any()
            seen.append(ids[:length].tolist())
            ends += int((ids[:length] == small.END).sum())
    assert sorted(seen) == wanted
    assert ends == sum(int((side == small.END).sum()) for row in rows for side in (row.chosen_ids, row.rejected_ids))


def run_schedule(run: Any) -> Any:
    from misstep.training.schedule import make_schedule

    return make_schedule(len(run.rows.rows), run.optimiser)


def test_batches_are_trls_own():
    rows = small.pair_examples(9)
    pairs = [{n: getattr(r, n).tolist() for n in ("prompt_ids", "chosen_ids", "rejected_ids")} for r in rows]
    same(collate_pairs(rows, 0), DataCollatorForPreference(pad_token_id=0)(pairs))
    singles = small.sft_examples(9)
    features = [{"input_ids": r.input_ids.tolist(), "labels": r.labels.tolist()} for r in singles]
    same(collate_sft(singles, 0), DataCollatorForLanguageModeling(pad_token_id=0)(features))


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_bands_change_no_hidden_state(base: Path):
    model = LlamaForCausalLM.from_pretrained(base)
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, 50)
    ids = torch.tensor(rng.integers(3, 20, (50, 40)))
    mask = (torch.arange(40) < torch.tensor(lengths)[:, None]).long()
    calls: list[tuple[int, ...]] = []
    handle = model.base_model.layers[0].register_forward_pre_hook(lambda _, args: calls.append(tuple(args[0].shape)))
    plain = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    with cheaper_steps(model):
        calls.clear()
        banded = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    handle.remove()
    assert "forward" not in vars(model.base_model)
    assert len(calls) > 1
    assert sum(rows * width for rows, width, _ in calls) < 0.8 * ids.numel()
    torch.testing.assert_close(banded * mask[..., None], plain * mask[..., None], rtol=1e-4, atol=1e-5)
    assert (banded[mask == 0] == 0).any()


def test_bands_cost_no_more_than_any_other_cut():
    rng = np.random.default_rng(1)
    for rows in (1, 7, 16, 24):
        lengths = sorted(rng.integers(1, 200, rows).tolist(), reverse=True)
        bands = plan_bands(lengths)
        assert [start for start, _ in bands] == [0, *[end for _, end in bands[:-1]]]
        assert bands[-1][1] == rows
        borders = list(range(8, rows, 8))
        costs = []
        for chosen in range(2 ** len(borders)):
            cuts = [0, *[b for i, b in enumerate(borders) if chosen >> i & 1], rows]
            costs.append(sum((b - a) * lengths[a] + 128 for a, b in pairwise(cuts)))
        assert sum((b - a) * lengths[a] + 128 for a, b in bands) == min(costs)


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_step(base: Path, tmp_path: Path):
    run = small.sft_run(small.sft_examples(40), small.optimiser(learning_rate=1e30, warmup_percent=0, epochs=4))
    with pytest.raises(BadInput, match=r"learningRate \(spec.training\): 1e\+30\. The loss is \S+ at step \d+ of 20"):
        train(small.context(tmp_path, run), InitialModel.load(base), run)


def test_labels_never_count_padding_or_prompts():
    row, longer = SftRow(np.array([5, 6, 1], dtype=np.int32), 1), SftRow(np.array([5, 6, 7, 8, 1], dtype=np.int32), 3)
    batch = collate_sft([row, longer], pad_id=0)
    assert batch["labels"].tolist() == [[IGNORED, 6, 1, IGNORED, IGNORED], [IGNORED, IGNORED, IGNORED, 8, 1]]


def test_the_reference_is_scored_once(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scored: list[int] = []
    original = DpoOnRows.compute_ref_log_probs

    def counted(self: DpoOnRows, model: Any, inputs: Any) -> Any:
        scored.append(len(inputs["input_ids"]) // 2)
        return original(self, model, inputs)

    monkeypatch.setattr(DpoOnRows, "compute_ref_log_probs", counted)
    run = small.dpo_run(small.pair_examples(30), small.optimiser(epochs=3))
    train(small.context(tmp_path, run), InitialModel.load(base), run)
    assert sum(scored) == 30


def test_pair_rows_keep_their_order_in_memory():
    row = PairRow(*(np.array(side, dtype=np.int32) for side in ([5, 6], [7, 1], [8])))
    batch = collate_pairs([row, row], pad_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 1], [5, 6, 7, 1], [5, 6, 8, 0], [5, 6, 8, 0]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 1, 0]]
