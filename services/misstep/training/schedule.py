"""The steps of a run, what happens at which step, and which rows are in which batch. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from misstep.distributed.micro_batches import micro_batch_rows
from misstep.plan.params import OptimiserParams
from misstep.training.learning_rate import warmup_steps

_LOG_ROWS = 200
"""Approximate number of rows in a run's log: enough for a curve, and few enough for checkpoints, which contain all of
them."""


@dataclass(frozen=True)
class Schedule:
    """The steps of one run. A step is one optimiser update; it sums over ``accumulation`` micro-batches."""

    epochs: int
    steps_per_epoch: int
    micro_batch: int
    """Rows of one process in one forward pass, at most."""
    accumulation: int
    warmup_steps: int
    log_every: int

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def scoring_steps(self, epochs: Sequence[int]) -> frozenset[int]:
        """Return the last steps of these epochs; epochs after the last are left out, and the last is always
        included."""
        return frozenset(min(epoch, self.epochs) * self.steps_per_epoch for epoch in {*epochs, self.epochs})


def make_schedule(
    rows: int, optimiser: OptimiserParams, processes: int = 1, out_of_memory: int | None = None
) -> Schedule:
    """Plan the steps of a run over this many rows. Arguments and errors are those of ``micro_batch_rows``."""
    batch, micro = optimiser.batch_size, micro_batch_rows(optimiser, processes, out_of_memory)
    steps_per_epoch = math.ceil(rows / batch)
    steps = optimiser.epochs * steps_per_epoch
    return Schedule(
        epochs=optimiser.epochs,
        steps_per_epoch=steps_per_epoch,
        micro_batch=micro,
        accumulation=batch // (micro * processes),
        warmup_steps=warmup_steps(steps, optimiser.warmup_percent),
        log_every=max(1, steps // _LOG_ROWS),
    )


class MicroBatches:
    """The rows of each micro-batch of one process in an epoch: a function of (seed, epoch) and the rows' lengths only.

    Every epoch is a new permutation, split into batches. Rows are sorted by length only inside a batch, and then
    distributed to micro-batches: so similar lengths are padded together, and which rows share an update is random. A
    last, smaller batch is split into as few micro-batches as it needs, of nearly equal size.

    Several processes have the same number of micro-batches each, the i-th ones with similar lengths, and together they
    have the rows that a single process would have. If the last batch has fewer rows than processes, some micro-batches
    are empty.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        micro_batch_size: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._lengths = lengths
        self._rank, self._processes = rank, processes
        self._batch = batch_size
        self._micro = micro_batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self._lengths), self._batch)
        at_once = self._micro * self._processes
        return whole * (self._batch // at_once) + math.ceil(rest / at_once)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(len(self._lengths)))
        random.Random(f"{self._seed} {self._epoch}").shuffle(order)
        for start in range(0, len(order), self._batch):
            batch = order[start : start + self._batch]
            batch.sort(key=lambda row: -self._lengths[row])
            parts = math.ceil(len(batch) / (self._micro * self._processes)) * self._processes
            for part in range(self._rank, parts, self._processes):
                yield batch[part * len(batch) // parts : (part + 1) * len(batch) // parts]
