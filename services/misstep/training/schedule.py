"""How many steps a run has, what happens at which of them, and which rows stand in which batch. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from misstep.errors import BadInput
from misstep.plan.params import OptimiserParams

_LOG_ROWS = 200
"""Rows of a run's log, about: enough for a curve, and checkpoints carry all of them."""


@dataclass(frozen=True)
class Schedule:
    """The steps of one run. A step is one optimiser update; it sums over ``accumulation`` micro-batches."""

    epochs: int
    steps_per_epoch: int
    accumulation: int
    warmup_steps: int
    log_every: int

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def scoring_steps(self, epochs: Sequence[int]) -> frozenset[int]:
        """Return the steps that end these epochs; epochs past the last are left out, the last is always in."""
        return frozenset(min(epoch, self.epochs) * self.steps_per_epoch for epoch in {*epochs, self.epochs})


def make_schedule(rows: int, optimiser: OptimiserParams) -> Schedule:
    """Lay out a run over so many rows.

    Raises:
        BadInput: the micro-batch does not divide the batch.
    """
    batch, micro = optimiser.batch_size, optimiser.micro_batch_size
    if batch % micro:
        raise BadInput("microBatchSize (spec.training)", micro, f"It must divide batchSize, {batch}.")
    steps_per_epoch = math.ceil(rows / batch)
    steps = optimiser.epochs * steps_per_epoch
    return Schedule(
        epochs=optimiser.epochs,
        steps_per_epoch=steps_per_epoch,
        accumulation=batch // micro,
        warmup_steps=math.ceil(steps * optimiser.warmup_percent / 100),
        log_every=max(1, steps // _LOG_ROWS),
    )


class MicroBatches:
    """The rows of each micro-batch of an epoch: a function of (seed, epoch) and the rows' lengths alone.

    Every epoch is a fresh permutation, cut into batches; only inside a batch are rows sorted by length and dealt to
    micro-batches, so that like lengths are padded together and which rows share an update is left to chance. A last,
    smaller batch is split into as few micro-batches as it needs, of nearly equal size: TRL weighs them equally.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, micro_batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch = batch_size
        self._micro = micro_batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self._lengths), self._batch)
        return whole * (self._batch // self._micro) + math.ceil(rest / self._micro)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(len(self._lengths)))
        random.Random(f"{self._seed} {self._epoch}").shuffle(order)
        for start in range(0, len(order), self._batch):
            batch = order[start : start + self._batch]
            batch.sort(key=lambda row: -self._lengths[row])
            parts = math.ceil(len(batch) / self._micro)
            for part in range(parts):
                yield batch[part * len(batch) // parts : (part + 1) * len(batch) // parts]
