"""Run any stage: open the inputs, run the missing blocks, commit."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from misstep import telemetry
from misstep.artifacts import manifest as m
from misstep.artifacts import paths
from misstep.artifacts.progress import ProgressWriter
from misstep.artifacts.scratch import Scratch
from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.stages.block_writer import BlockWriter
from misstep.stages.context import LooksAhead, Progress, Work
from misstep.stages.registry import REGISTRY, find_work
from misstep.store.base import Store
from misstep.store.disk import full_disk_errors
from misstep.store.open import open_store

_log = structlog.get_logger(__name__)
_READS_AT_ONCE = 16


@dataclass(frozen=True)
class StageResult:
    """The result of a shard. ``manifest`` is None if blocks of other shards are still missing."""

    key: str
    manifest: m.Manifest | None
    blocks_run: int
    seconds: float

    @property
    def committed(self) -> bool:
        return self.manifest is not None


def run_stage(
    stage: FrozenStage,
    shard: int = 0,
    *,
    progress: Progress | None = None,
    registry: Mapping[StageKind, str] = REGISTRY,
) -> StageResult:
    """Run one shard of a stage: its blocks that have no receipt yet, then the commit if no block is missing.

    Does nothing if the stage is committed. Running it twice, concurrently or one after another, does no harm: the first
    to finish a block wins. ``progress`` is called with every update, in addition to the heartbeat in the store.

    Raises BadInput if running again cannot help, for example if a manifest belongs to another stage than its key names,
    and another MisstepError (or any error of the stage's code) if it may.
    """
    if not 0 <= shard < stage.shards:
        raise BadInput("shard", shard, f"Stage {stage.name} has the shards 0 to {stage.shards - 1}.")
    started = time.monotonic()
    store = _open(stage)
    committed = m.read_own(store, stage)
    blocks_run = 0
    if committed is None:
        _check_inputs(store, stage)
        set_threads(stage.resources.cpus)
        with Scratch(stage.key, shard) as scratch:
            if stage.resources.distributed:
                if not _complete(store, stage.key):
                    blocks_run = _run_together(stage, shard, store, scratch)
            elif not _complete(store, stage.key):
                heartbeat = _heartbeat(stage, shard, progress)
                telemetry.serve(lambda: heartbeat.fraction)
                blocks_run = _run_blocks(stage, shard, store, scratch, heartbeat, registry)
            committed = _commit(store, stage)
            scratch.remove()
    else:
        _log.info("already committed")
    return StageResult(stage.key, committed, blocks_run, time.monotonic() - started)


def _check_inputs(store: Store, stage: FrozenStage) -> None:
    """Refuse to start if an input is not committed, or is not what its key names."""
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        manifests = pool.map(lambda key: m.read_manifest(store, key), stage.inputs.values())
        for (role, key), manifest in zip(stage.inputs.items(), manifests, strict=True):
            if manifest is None:
                raise MisstepError(f"input {role} of {stage.name}: {m.NotCommittedError(key)}")


def run_rank(stage: FrozenStage, folder: Path, registry: Mapping[StageKind, str] = REGISTRY) -> None:
    """Do one rank's part of a training stage, in a process that torchrun has started; the first of all ranks stores
    the block. Raises as ``run_stage`` does."""
    from misstep.distributed.ranks import join, world
    from misstep.stages.runtime import RankRuntime

    set_threads(stage.resources.threads)
    join(stage.resources, stage.typed_params())
    store = open_store(stage.storage, accepted=True)  # the process that started this one has used it
    scratch = folder if world().local_rank == 0 else folder / f"rank-{world().rank}"
    scratch.mkdir(exist_ok=True)
    progress = _heartbeat(stage, 0)
    if world().local_rank == 0:
        telemetry.serve(lambda: progress.fraction if world().first else math.nan)  # other ranks do not know it
    context = RankRuntime(stage, store, folder, scratch, progress)
    try:
        work = find_work(stage.kind, registry)(context)
        if world().first:
            with BlockWriter(stage, 1, store, folder) as writer:
                _run_block(work, 0, writer)
                writer.drain()
        else:
            work.run(0)
        work.close()
    finally:
        context.close()


def _open(stage: FrozenStage, patient: bool = True) -> Store:
    """Open a stage's store. If the stage waited for others, the store has accepted their requests: a refusal then means
    that keys or policies are being replaced, and the next pod may succeed."""
    return open_store(stage.storage, patient=patient, accepted=bool(stage.needs))


def _heartbeat(stage: FrozenStage, shard: int, listener: Progress | None = None) -> ProgressWriter:
    """Write heartbeats without waiting long: work continues while the store is down."""
    return ProgressWriter(_open(stage, patient=False), stage.key, shard, listener)


def _run_together(stage: FrozenStage, node: int, store: Store, scratch: Scratch) -> int:
    from misstep.artifacts.checkpoints import StoredCheckpoints
    from misstep.distributed.launch import run_ranks

    run_ranks(stage, node, scratch.folder, StoredCheckpoints(store, stage.key, scratch.folder))
    return 1 if node == 0 else 0


def set_threads(cpus: int) -> None:
    """Set the threads of numeric libraries, on which the last bits of results depend."""
    os.environ["OMP_NUM_THREADS"] = str(cpus)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(cpus)


def _complete(store: Store, key: str) -> int | None:
    """Return the number of blocks of a complete set of receipts, or None."""
    finished = m.finished_blocks(store, key)
    return next((blocks for blocks, done in sorted(finished.items()) if len(done) == blocks), None)


def _run_blocks(
    stage: FrozenStage,
    shard: int,
    store: Store,
    scratch: Scratch,
    heartbeat: ProgressWriter,
    registry: Mapping[StageKind, str],
) -> int:
    from misstep.stages.runtime import Runtime

    context = Runtime(stage, store, scratch.folder, heartbeat)
    try:
        work = find_work(stage.kind, registry)(context)
        try:
            blocks = work.blocks()
            if blocks == 0:
                _commit_nothing(store, stage)
            with BlockWriter(stage, blocks, store, scratch.folder) as writer:
                run = run_missing(work, range(shard, blocks, stage.shards), writer, heartbeat)
            heartbeat.flush()
        finally:
            work.close()
    finally:
        context.close()
    return run


def run_missing(work: Work, mine: Sequence[int], writer: BlockWriter, heartbeat: ProgressWriter) -> int:
    """Run the blocks that have no receipt; return how many."""
    run = 0
    for done, block in enumerate(mine):
        heartbeat.blocks(done, len(mine))
        # Check before each block: a twin of this shard may be computing the same ones.
        if writer.is_finished(block):
            continue
        if isinstance(work, LooksAhead):
            work.expect(next((later for later in mine[done + 1 :] if not writer.is_finished(later)), None))
        _run_block(work, block, writer)
        run += 1
    writer.drain()
    heartbeat.blocks(len(mine), len(mine))
    return run


def _run_block(work: Work, block: int, writer: BlockWriter) -> None:
    started = time.monotonic()
    with full_disk_errors("scratch folder", str(writer.scratch)):
        output = work.run(block)
    writer.write(block, output, started)


def _commit_nothing(store: Store, stage: FrozenStage) -> None:
    """Commit a stage without blocks: its result is empty, not missing."""
    store.put(paths.manifest(stage.key), m.assemble(stage, []).encode(), if_absent=True)


def _commit(store: Store, stage: FrozenStage) -> m.Manifest | None:
    """Write the manifest if all receipts exist; return the committed one, or None if blocks are missing."""
    blocks = _complete(store, stage.key)
    if blocks is None:
        committed = m.read_own(store, stage)
        if committed is None:
            _log.info("shard finished; other shards have blocks left")
            return None
    else:
        committed = m.commit(store, stage, blocks)
        _log.info("committed", blocks=blocks, rows=committed.tables(), bytes=committed.size())
    _remove_unfinished(store, stage.key)
    return committed


def _remove_unfinished(store: Store, key: str) -> None:
    """Remove heartbeats and checkpoints; if that fails, `misstep artifacts gc` removes the rest."""
    try:
        for prefix in (f"{key}/progress/", f"{key}/checkpoints/"):
            for entry in list(store.list(prefix)):
                store.delete(entry.path)
    except MisstepError as error:
        _log.warning("progress and checkpoints were not removed", error=str(error))
