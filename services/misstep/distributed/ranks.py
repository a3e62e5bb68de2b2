"""The processes that train one model. With a single process all functions here are trivial and cost nothing."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from misstep.distributed.deepspeed_config import deepspeed_config
from misstep.distributed.micro_batches import micro_batch_rows
from misstep.errors import BadInput, MisstepError

if TYPE_CHECKING:
    import torch

    from misstep.artifacts.checkpoints import CheckpointFile, StoredCheckpoints
    from misstep.plan.frozen import Resources
    from misstep.plan.params import OptimiserParams, Params

T = TypeVar("T")
Addend = TypeVar("Addend", int, float)

_COLLECTIVE_TIMEOUT = timedelta(minutes=60)
"""Longer than the timeout of the watchdog of `misstep.distributed.launch`, because only that says which rank is at
fault."""


@dataclass(frozen=True)
class World:
    """This process's place among the training processes."""

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    nodes: int = 1
    zero_stage: int | None = None
    """None: no DeepSpeed, the plain trainer in one process."""

    @property
    def first(self) -> bool:
        """Return whether this is the rank that writes files that must be written once."""
        return self.rank == 0

    @property
    def sharded(self) -> bool:
        """Return whether no process holds the whole model (ZeRO-3)."""
        return self.zero_stage == 3


_world = World()
_early_config: Any = None
"""transformers checks for a live configuration object when it loads a model, so that with ZeRO-3 no process loads all
of it."""


def world() -> World:
    """Return this process's place among the ranks."""
    return _world


def join(resources: Resources, params: Params) -> None:
    """Connect to the other ranks, through the environment variables of torchrun.

    Raises:
        BadInput: settings that cannot work: fewer GPUs than processes, a batch that cannot be divided evenly, adapters
            under ZeRO-3.
    """
    global _world, _early_config  # noqa: PLW0603 (a process is one rank, once)
    optimiser: OptimiserParams = params.optimiser  # type: ignore[attr-defined]
    micro = micro_batch_rows(optimiser, resources.processes)
    if optimiser.lora_rank is not None and resources.zero_stage == 3:
        raise BadInput(
            "loraRank (spec.training)",
            optimiser.lora_rank,
            "Adapters cannot be trained with zeroStage 3 (spec.resources): take 2, which shards everything that "
            "is trained.",
        )
    import torch

    on_cpu = not torch.cuda.is_available()
    if not on_cpu and torch.cuda.device_count() < resources.processes_per_node:
        raise BadInput(
            "gpus (spec.resources)",
            resources.processes_per_node,
            f"This node has {torch.cuda.device_count()}: each process needs its own GPU.",
        )
    if on_cpu and resources.gpus:
        raise BadInput("gpus (spec.resources)", resources.gpus, "This node has no GPU that torch can use.")
    if on_cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ.pop("ACCELERATE_USE_CPU", None)  # with it accelerate silently ignores DeepSpeed
    import deepspeed
    import deepspeed.ops

    _allow_deepspeeds_own_records()
    if on_cpu:
        # DeepSpeed's all-reduce through shared memory takes a minute to compile on first use, and is no faster than
        # gloo.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    local_rank = int(os.environ["LOCAL_RANK"])
    if not on_cpu:
        torch.cuda.set_device(local_rank)
    deepspeed.init_distributed(dist_backend="gloo" if on_cpu else "nccl", timeout=_COLLECTIVE_TIMEOUT)
    _world = World(
        rank=int(os.environ["RANK"]),
        processes=int(os.environ["WORLD_SIZE"]),
        local_rank=local_rank,
        nodes=resources.nodes,
        zero_stage=resources.zero_stage,
    )
    if resources.zero_stage == 3:
        from transformers.integrations.deepspeed import HfDeepSpeedConfig

        accumulation = optimiser.batch_size // (micro * resources.processes)
        config = deepspeed_config(
            optimiser,
            3,
            micro_batch=micro,
            accumulation=accumulation,
            processes=resources.processes,
            on_cpu=on_cpu,
        )
        _early_config = HfDeepSpeedConfig(config)


def _allow_deepspeeds_own_records() -> None:
    """Allow torch, with weights only, to read the plain records next to the tensors in DeepSpeed's checkpoints.
    Anything else in a file is refused (`misstep.unpickling`)."""
    import torch
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    def zero_stage(of: Any, name: str) -> Any:
        if of is not ZeroStageEnum or name not in ZeroStageEnum.__members__:
            raise pickle.UnpicklingError("GLOBAL builtins.getattr is allowed for ZeRO stages only")
        return ZeroStageEnum[name]

    # Python 3.11.2, which Debian 12 has, writes a member of an enumeration as getattr(class, name). That name must not
    # stand for the real getattr, which reaches every function.
    by_name = (zero_stage, "builtins.getattr")
    torch.serialization.add_safe_globals([LossScaler, ZeroStageEnum, fragment_address, by_name])


def load_whole_models() -> None:
    """From now on this process loads whole models again, also under ZeRO-3."""
    global _early_config  # noqa: PLW0603
    if _world.sharded:
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        _early_config = None
        unset_hf_deepspeed_config()


def barrier() -> None:
    """Wait for all ranks."""
    if _world.processes > 1:
        import torch.distributed as dist

        dist.barrier()


def total(*counts: Addend) -> tuple[Addend, ...]:
    """Add up each count, or weight, over all ranks; every rank gets the same sums."""
    if _world.processes == 1:
        return counts
    gathered = gather(counts)
    return tuple(sum(column) for column in zip(*gathered, strict=True))


def gather(value: T) -> list[T]:
    """Return every rank's value, by rank."""
    if _world.processes == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * _world.processes
    dist.all_gather_object(values, value)
    return values


def from_first(value: T) -> T:
    """Return the first rank's value."""
    if _world.processes == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gather_rows(values: torch.Tensor) -> torch.Tensor:
    """Concatenate every rank's rows; ranks may have different numbers: (n_rank, ...) -> (sum of n_rank, ...)."""
    import torch
    import torch.distributed as dist

    lengths = gather(len(values))
    padded = values.new_zeros((max(lengths), *values.shape[1:]))
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


@contextmanager
def whole_weights(model: Any, engine: Any) -> Iterator[None]:
    """Gather all weights of a model on every rank inside the block, for generation; ZeRO-3's hooks are disabled
    meanwhile.

    All ranks must enter; inside they need not stay synchronised. Does nothing if the model is whole anyway.

    Args:
        engine: DeepSpeed's engine around the model.
    """
    if not _world.sharded:
        yield
        return
    import deepspeed
    from trl.models.utils import add_hooks, remove_hooks

    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        remove_hooks(engine)
        try:
            yield
        finally:
            add_hooks(engine)


class RankCheckpoints:
    """Implements ``Checkpoints`` for ranks: every node stores its own files, then the first rank makes them visible.

    All ranks call ``save`` and ``newest`` together.
    """

    def __init__(self, stored: StoredCheckpoints) -> None:
        self._stored = stored

    def save(self, step: int, folder: Path) -> None:
        """Store the ranks' files from ``folder``, which the ranks of a node share."""
        barrier()  # all files are written
        own = self._stored.upload(step, folder) if _world.local_rank == 0 else []
        files: list[CheckpointFile] = [file for part in gather(own) for file in part]
        if _world.first:
            self._stored.complete(step, files)
        barrier()

    def newest(self) -> tuple[int, Path] | None:
        """Fetch, once per node, the newest checkpoint that the first rank finds complete."""
        found = self._stored.newest() if _world.first else None
        step = from_first(found[0] if found else None)
        if step is None:
            return None
        if _world.local_rank == 0 and not _world.first:
            self._stored.fetch(step)
        barrier()
        return step, self._stored.folder

    def refuse(self, step: int, why: str) -> MisstepError:
        """Take it out of use for all ranks; any single rank may have found the reason."""
        return self._stored.refuse(step, why)

    def note_out_of_memory(self, micro_batch: int) -> None:
        """Record it at once: other ranks may already be stuck."""
        self._stored.note_out_of_memory(micro_batch)

    def out_of_memory(self) -> int | None:
        """Ask the store once, so that all ranks use the same answer."""
        return from_first(self._stored.out_of_memory() if _world.first else None)
