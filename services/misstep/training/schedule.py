"""The steps of a run, what happens at which step, and which rows are in which batch. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from misstep.errors import BadInput
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


def micro_batch_rows(optimiser: OptimiserParams, processes: int = 1, out_of_memory: int | None = None) -> int:
    """Return how many rows one process runs through the model at once.

    Args:
        processes: the number of processes that share each batch.
        out_of_memory: rows with which an earlier attempt ran out of memory; half as many are used, or fewer if the half
            does not divide a process's share. A step's rows stay the same: only the rounding of sums changes.

    Raises:
        BadInput: the processes or the micro-batch do not divide the batch, or not even single rows fit into memory.
    """
    batch, micro = optimiser.batch_size, optimiser.micro_batch_size
    if batch % micro:
        raise BadInput("microBatchSize (spec.training)", micro, f"It must divide batchSize, {batch}.")
    share, rest = divmod(batch, processes)
    if rest:
        raise BadInput(
            "batchSize (spec.training)",
            batch,
            f"Its rows are shared by {processes} processes (spec.resources: nodes x processesPerNode, or gpus): make "
            "it a multiple of that.",
        )
    # By default spec.training has a micro-batch of the whole batch.
    micro = share if micro == batch else micro
    if share % micro:
        raise BadInput(
            "microBatchSize (spec.training)",
            micro,
            f"Times {processes} processes (spec.resources: nodes x processesPerNode, or gpus) it must divide "
            f"batchSize, {batch}.",
        )
    if out_of_memory is None or micro < out_of_memory:
        return micro
    if out_of_memory == 1:
        raise BadInput(
            "maxLength (spec.training)",
            optimiser.max_length,
            "Not even a single row fits into memory: lower it, give the stage more memory, spread the model over more "
            "processes with zeroStage 3 (spec.resources), or train adapters with loraRank.",
        )
    return max(rows for rows in range(1, out_of_memory // 2 + 1) if share % rows == 0)


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
