"""How many rows each process of a training takes at once. Pure."""

from __future__ import annotations

from misstep.errors import BadInput
from misstep.plan.params import OptimiserParams


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
