"""Pairs per second of our DPO compared with unmodified TRL, and with TRL with a precomputed reference.

    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/dpo.py
    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/dpo.py --pairs .misstep/store/pairs-KEY/pairs
    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/dpo.py --math --batch 2 --rows 32

Without ``--pairs`` the quickstart's pairs are made as ``benchmarks/training.py`` makes them; with it they are those
that a run of the quickstart wrote. ``--math`` makes random pairs of MATH's shape, a prefix of 300 tokens and sides of
40 to 120, for a random Llama. "TRL" is DPOTrainer, which runs a second model in every step; "TRL, precomputed" has
``precompute_ref_log_probs``; "ours, apart" is our trainer without prefix sharing. All get the same token ids in the
same batches (TRL's preparation of text is skipped: it would append end tokens), and every step's loss is compared.

The variants take turns; ratios are taken inside a round. Time is the process's CPU time of ``train()`` and of the pass
over the reference before it, where there is one; loading and saving is left out.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import datasets
import numpy as np
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PrinterCallback

from misstep.plan.params import DpoParams, OptimiserParams, PromptParams
from misstep.training import shared_prefix
from misstep.training.arguments import dpo_arguments
from misstep.training.cpu_speed import cheaper_steps
from misstep.training.data import id_lists
from misstep.training.export import InitialModel
from misstep.training.rows import PairRow
from misstep.training.schedule import MicroBatches, make_schedule
from misstep.training.trainers import DpoOnRows

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from benchmarks.training import BASE, BareDpo, rows_of_strides

SIDES = ("prompt_ids", "chosen_ids", "rejected_ids")
VARIANTS = ("TRL", "TRL, precomputed", "ours, apart", "ours")


@dataclass
class Measured:
    """One variant in one round."""

    seconds: float
    reference_seconds: float
    losses: list[float]


class _Timed:
    """Adds up CPU seconds of the reference pass and of training."""

    seconds = reference_seconds = 0.0

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        result = super()._precompute_ref_logps(*args, **kwargs)  # type: ignore[misc]
        self.reference_seconds = time.process_time() - began
        return result

    def train(self, *args: Any, **kwargs: Any) -> None:
        began = time.process_time()
        super().train(*args, **kwargs)  # type: ignore[misc]
        self.seconds = time.process_time() - began + self.reference_seconds


class Ours(_Timed, DpoOnRows):
    """Ours, timed."""


class Peer(_Timed, BareDpo):
    """TRL's trainer with our batches, so that losses can be compared step by step."""

    batches: MicroBatches

    def get_train_dataloader(self) -> Any:
        # TRL's own loader drops nothing either: only the order of rows differs.
        return self.accelerator.prepare(
            DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)
        )


def measure(variant: str, rows: Sequence[PairRow], params: DpoParams, model: Path, folder: Path) -> Measured:
    """Train one variant from the same weights."""
    optimiser = params.optimiser
    start = InitialModel.load(model)
    args = replace(dpo_arguments(params, make_schedule(len(rows), optimiser), folder), logging_steps=1)
    common = {"model": start.model, "processing_class": start.trainers_tokenizer()}
    if variant.startswith("ours"):
        apart = mock.patch.object(shared_prefix, "why_not", lambda _: "measured so")
        with cheaper_steps(start.model), apart if variant == "ours, apart" else nullcontext():
            trainer: Any = Ours(rows, optimiser, args=args, **common)
            trainer.remove_callback(PrinterCallback)
            trainer.train()
    else:
        data = Dataset.from_dict({name: [getattr(row, name) for row in rows] for name in SIDES})
        args = replace(args, precompute_ref_log_probs=variant != "TRL")
        trainer = Peer(train_dataset=data, args=args, **common)
        lengths = [row.length for row in rows]
        trainer.batches = MicroBatches(lengths, optimiser.batch_size, optimiser.micro_batch_size, optimiser.seed)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Measured(trainer.seconds, trainer.reference_seconds, losses)


def math_shaped(count: int, vocabulary: int) -> list[PairRow]:
    """Make pairs of random tokens with a prefix of 300 and sides of 40 to 120."""
    rng = np.random.default_rng(0)

    def tokens(length: int) -> Any:
        return rng.integers(3, vocabulary, length).astype(np.int32)

    return [PairRow(tokens(300), *(tokens(int(rng.integers(40, 121))) for _ in range(2))) for _ in range(count)]


def random_llama(folder: Path, hidden: int, layers: int, vocabulary: int) -> Path:
    """Write a Llama of random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(BASE).save_pretrained(folder)
    return folder


def stored(folder: Path) -> list[PairRow]:
    """Read the pairs of a run."""
    table = pq.read_table(folder, columns=list(SIDES)).combine_chunks()
    columns = (id_lists(table[name].chunk(0)) for name in SIDES)
    return [PairRow(*ids) for ids in zip(*columns, strict=True)]


def main() -> None:
    """Measure every variant on one set of pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, help="folder with the table of a pairs stage")
    parser.add_argument("--math", action="store_true")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=768)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    datasets.disable_caching()  # TRL would find the reference of the round before
    scratch = Path(tempfile.mkdtemp())
    if options.math:
        model = random_llama(scratch / "model", options.hidden, options.layers, options.vocabulary)
        rows = math_shaped(options.rows, options.vocabulary)
    else:
        model = BASE
        made = (
            stored(options.pairs)
            if options.pairs
            else rows_of_strides(InitialModel.load(BASE).tokenizer, options.rows)[1]
        )
        rows = made[: options.rows]
    optimiser = OptimiserParams(
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        batch_size=options.batch,
        micro_batch_size=options.batch,
        schedule="linear",
        warmup_percent=0,  # without a warm-up our rates are TRL's
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=1024,
        dtype="float32",
        lora_rank=None,
        seed=0,
    )
    prompt = PromptParams(style="plain", template="{question}\n")
    params = DpoParams(optimiser=optimiser, beta=0.3, nll_weight=0.0, prompt=prompt, selection=None)
    lengths = np.array([[len(getattr(row, name)) for name in SIDES] for row in rows]).mean(0)
    print(
        f"{len(rows)} pairs of {lengths[0]:.0f} + {lengths[1]:.0f} / {lengths[2]:.0f} tokens (prompt + chosen / "
        f"rejected), batches of {options.batch}, {options.epochs} epochs, {options.threads} thread(s)",
        flush=True,
    )
    rounds: list[dict[str, Measured]] = []
    for turn in range(options.rounds):
        order = VARIANTS[turn % len(VARIANTS) :] + VARIANTS[: turn % len(VARIANTS)]
        rounds.append({name: measure(name, rows, params, model, scratch / "trainer") for name in order})
    for name in VARIANTS:
        taken = [turn[name] for turn in rounds]
        gap = max(np.abs(np.subtract(turn[name].losses, turn["TRL"].losses)).max() for turn in rounds)
        over = []
        for peer in VARIANTS[:2]:
            ratios = sorted(turn[peer].seconds / turn[name].seconds for turn in rounds)
            over.append(f"{statistics.median(ratios):.2f} of {peer}'s ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        speed = statistics.median(len(rows) * options.epochs / m.seconds for m in taken)
        share = statistics.median(m.reference_seconds / m.seconds for m in taken)
        print(
            f"{name:<17} {speed:7.1f} pairs a CPU second   {over[0]}   {over[1]}   reference pass {share:.0%} of it   "
            f"{len(taken[0].losses)} losses, last {taken[0].losses[-1]:.4f}, at most {gap:.1e} from TRL's",
            flush=True,
        )
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
