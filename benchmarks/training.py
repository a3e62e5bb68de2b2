"""Steps per second of our training stages, compared with plain TRL and with a hand-written loop, on the same rows.

    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/training.py
    PYTHONPATH=services OMP_NUM_THREADS=1 python benchmarks/training.py --model DIR --micro-batch 4

Rows are the quickstart's teacher solutions; pairs have a correct continuation against one wrong line, as credit makes
them, so that half of a padded batch is padding. "TRL" is SFTTrainer or DPOTrainer as it comes, with the same
settings, on the same token ids (for DPO its preparation of text is skipped: it would append end tokens) and with
precomputed reference log-probabilities. "loop" is the same model and loss in the fewest lines, and "ours, plain" our
trainers without what ``misstep.training.cpu_speed`` does. The variants take turns; a round's ratios are taken inside
the round. Times are of the process's CPU, which a busy machine disturbs less, and of ``train()`` alone; the last
column is the whole of a run in wall seconds, with set-up, the reference pass, and for ours the writing, reloading and
comparing of the model.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch.nn import functional
from transformers import PrinterCallback
from trl import DPOTrainer, SFTTrainer

from misstep.generation.prompts import PromptBuilder
from misstep.plan.params import DpoParams, OptimiserParams, PromptParams
from misstep.problems.strides import STATES, generate
from misstep.training import run as stage_run
from misstep.training.arguments import dpo_arguments, sft_arguments
from misstep.training.export import InitialModel
from misstep.training.rows import PairRow, Rows, SftRow
from misstep.training.run import Run
from misstep.training.schedule import MicroBatches, Schedule, make_schedule
from misstep.training.trainers import DpoOnRows, SftOnRows, collate_pairs, collate_sft

BASE = Path(__file__).parents[1] / "examples" / "quickstart-base"
BETA = 0.3


@dataclass
class Measured:
    """One variant in one round."""

    steps: int
    cpu_seconds: float
    whole_seconds: float
    loss: float

    @property
    def milliseconds(self) -> float:
        """CPU time of a step."""
        return 1000 * self.cpu_seconds / self.steps


class BareDpo(DPOTrainer):
    """TRL's DPO on token ids: it only skips the preparation of text."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


class Context:
    """The part of a stage's context that a run uses."""

    class _Nothing:
        def update(self, *args: Any, **kwargs: Any) -> None: ...
        def save(self, step: int, folder: Path) -> None: ...
        def newest(self) -> None: ...

    progress = checkpoints = _Nothing()

    def __init__(self, scratch: Path, threads: int) -> None:
        self.scratch, self.threads = scratch, threads


def rows_of_strides(tokenizer: Any, count: int) -> tuple[list[SftRow], list[PairRow]]:
    """Make rows and the same number of pairs from the task's teacher solutions."""
    builder = PromptBuilder(tokenizer, PromptParams(style="plain", template="{question}\n"))
    rng = random.Random(0)
    rows, pairs = [], []
    for problem in generate("train", count, seed=0):
        prompt, response = builder.prompt_ids(problem.question), builder.response_ids(problem.solution)
        rows.append(SftRow(np.array(prompt + response, dtype=np.int32), len(prompt)))
        lines = problem.solution.splitlines(keepends=True)
        good = rng.randrange(len(lines) - 1)
        wrong = f"{lines[good].rstrip()[:-2]}{rng.choice(STATES)}\n"
        sides = (builder.response_ids(text)[:-1] for text in ("".join(lines[:good]), wrong))
        prefix, rejected = sides
        chosen = builder.response_ids("".join(lines[good:]))
        pairs.append(PairRow(*(np.array(ids, dtype=np.int32) for ids in (prompt + prefix, chosen, rejected))))
    return rows, pairs


def timed(train: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call."""
    began = time.process_time()
    train()
    return time.process_time() - began


def ours(make: Callable[[], Run], model: Path, folder: Path, options: argparse.Namespace, plain: bool) -> Measured:
    """Run a stage as `misstep.training.run.train` does."""
    run, start = make(), InitialModel.load(model)
    spent: list[float] = []

    class Timed(run.trainer):  # type: ignore[name-defined]
        def train(self, *args: Any, **kwargs: Any) -> None:
            spent.append(timed(lambda: super(Timed, self).train(*args, **kwargs)))

    object.__setattr__(run, "trainer", Timed)
    without = mock.patch.object(stage_run, "cheaper_steps", nullcontext) if plain else nullcontext()
    began = time.perf_counter()
    with without:
        output = stage_run.train(Context(folder, options.threads), start, run)  # type: ignore[arg-type]
    whole = time.perf_counter() - began
    table: pa.Table = output.tables["log"]
    return Measured(output.summary["steps"], spent[0], whole, table["loss"][-1].as_py())


def bare(make: Callable[[], Run], model: Path, folder: Path) -> Measured:
    """Run TRL's own trainer with the same settings, and save the model."""
    run, start = make(), InitialModel.load(model)
    schedule = make_schedule(len(run.rows.rows), run.optimiser)
    began = time.perf_counter()
    first = run.rows.rows[0]
    names = ("input_ids", "labels") if isinstance(first, SftRow) else ("prompt_ids", "chosen_ids", "rejected_ids")
    data = Dataset.from_dict({name: [getattr(row, name) for row in run.rows.rows] for name in names})
    trainer = (SFTTrainer if isinstance(first, SftRow) else BareDpo)(
        model=start.model,
        args=run.arguments(schedule, folder / "trl"),
        train_dataset=data,
        processing_class=start.trainers_tokenizer(),
    )
    trainer.remove_callback(PrinterCallback)
    spent = timed(trainer.train)
    trainer.save_model(str(folder / "saved"))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Measured(trainer.state.global_step, spent, time.perf_counter() - began, losses[-1])


def loop(make: Callable[[], Run], model: Path) -> Measured:
    """Train in a plain loop: one padded batch per step, fused AdamW, clipping, no schedule, no log."""
    run, policy = make(), InitialModel.load(model).model.train()
    rows, params = run.rows.rows, run.optimiser
    pairs = [row for row in rows if isinstance(row, PairRow)]
    singles = [row for row in rows if isinstance(row, SftRow)]
    lengths = [row.length for row in rows]
    optimizer = torch.optim.AdamW(policy.parameters(), params.learning_rate, fused=True)
    began = time.perf_counter()
    reference = torch.zeros(2, len(rows))
    if pairs:
        with torch.no_grad():
            for start in range(0, len(rows), 64):
                reference[:, start : start + 64] = _sides(policy, pairs[start : start + 64])
    losses: list[float] = []

    def train() -> None:
        batches = MicroBatches(lengths, params.batch_size, params.batch_size, params.seed)
        for epoch in range(params.epochs):
            batches.set_epoch(epoch)
            for batch in batches:
                if pairs:
                    chosen, rejected = _sides(policy, [pairs[i] for i in batch]) - reference[:, batch]
                    loss = -functional.logsigmoid(BETA * (chosen - rejected)).mean()
                else:
                    data = collate_sft([singles[i] for i in batch], 0)
                    labels = data.pop("labels")
                    logits = policy(**data, use_cache=False).logits[:, :-1]
                    loss = functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
                loss.backward()
                torch.nn.utils.clip_grad_norm_(policy.parameters(), params.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())

    spent = timed(train)
    return Measured(len(losses), spent, time.perf_counter() - began, losses[-1])


def _sides(policy: Any, rows: Sequence[PairRow]) -> torch.Tensor:
    """Log-probabilities of the chosen and rejected sides, (2, pairs)."""
    batch = collate_pairs(rows, 0)
    judged = batch.pop("completion_mask")[:, 1:]
    logps = policy(**batch, use_cache=False).logits[:, :-1].log_softmax(-1)
    tokens = logps.gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    return (tokens * judged).sum(1).view(2, len(rows))


def compare(method: str, make: Callable[[], Run], options: argparse.Namespace) -> None:
    """Print a line per variant: milliseconds per step, and steps per second relative to plain TRL."""
    variants: dict[str, Callable[[Path], Measured]] = {
        "TRL": lambda folder: bare(make, options.model, folder),
        "ours": lambda folder: ours(make, options.model, folder, options, plain=False),
        "ours, plain": lambda folder: ours(make, options.model, folder, options, plain=True),
        "loop": lambda _: loop(make, options.model),
    }
    rounds: list[dict[str, Measured]] = []
    for turn in range(options.rounds):
        names = list(variants)
        rounds.append({})
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            folder = Path(tempfile.mkdtemp())
            rounds[-1][name] = variants[name](folder)
            shutil.rmtree(folder)
    for name in variants:
        taken = [turn[name] for turn in rounds]
        ratios = sorted(turn["TRL"].milliseconds / turn[name].milliseconds for turn in rounds)
        print(
            f"{method}  {name:<12} {statistics.median(m.milliseconds for m in taken):7.1f} ms a step   "
            f"{statistics.median(ratios):.2f} of TRL's steps per second ({ratios[0]:.2f} to {ratios[-1]:.2f})   "
            f"whole run {statistics.median(m.whole_seconds for m in taken):5.1f} s   last loss {taken[0].loss:.3f}",
            flush=True,
        )


def main() -> None:
    """Measure SFT, then DPO."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=BASE)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, pairs = rows_of_strides(InitialModel.load(options.model).tokenizer, options.rows)
    optimiser = OptimiserParams(
        learning_rate=3e-4,
        epochs=options.epochs,
        batch_size=options.batch,
        micro_batch_size=options.micro_batch or options.batch,
        schedule="linear",
        warmup_percent=5,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=1024,
        dtype="float32",
        lora_rank=None,
        seed=0,
    )
    prompt = PromptParams(style="plain", template="{question}\n")
    dpo = DpoParams(optimiser=optimiser, beta=BETA, nll_weight=0.0, prompt=prompt, selection=None)

    def make(of: Rows[SftRow] | Rows[PairRow], trainer: type[Any], arguments: Callable[[Schedule, Path], Any]) -> Run:
        return Run(
            rows=of,
            optimiser=optimiser,
            selection=None,
            questions=(),
            trainer=trainer,
            arguments=arguments,
            nothing="",
        )

    print(
        f"{options.model.name}: {len(rows)} rows of {statistics.mean(r.length for r in rows):.0f} tokens, pairs of "
        f"{statistics.mean(p.tokens for p in pairs):.0f}; batches of {options.batch}, {options.epochs} epochs, "
        f"{options.threads} thread(s)"
    )
    compare("SFT", lambda: make(Rows(rows), SftOnRows, partial(sft_arguments, optimiser)), options)
    compare("DPO", lambda: make(Rows(pairs), DpoOnRows, partial(dpo_arguments, dpo)), options)


if __name__ == "__main__":
    main()
