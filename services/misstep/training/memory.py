"""Out of memory: report what to change, and record it so that the next attempt uses smaller micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from misstep.errors import MisstepError

if TYPE_CHECKING:
    from misstep.stages.context import Checkpoints

_SAID_BY_TORCH = ("can't allocate memory", "not enough memory", "out of memory")


@contextmanager
def out_of_memory_is_noted(checkpoints: Checkpoints, micro_batch: int, longest: int) -> Iterator[None]:
    """Convert a failed allocation in the block into an error after which a restart may succeed.

    Args:
        micro_batch: rows of one forward pass.
        longest: tokens of the longest row.

    Raises:
        MisstepError: an allocation failed. The store then records that micro-batches of that size are too large.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        checkpoints.note_out_of_memory(micro_batch)
        then = (
            f"the next attempt uses at most {micro_batch // 2} rows at once"
            if micro_batch > 1
            else "not even single rows fit, so no attempt can be smaller"
        )
        raise MisstepError(
            f"training ran out of memory with micro-batches of {micro_batch} rows of up to {longest} tokens; {then}. "
            "Lower microBatchSize or maxLength (spec.training), or give the stage more memory (spec.resources)."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed, on the device or on the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(text in str(error) for text in _SAID_BY_TORCH)
