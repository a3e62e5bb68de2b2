"""The resources of stages: cores, memory, GPUs, processes and shards, from ``spec.resources``."""

from __future__ import annotations

from dataclasses import dataclass

from misstep.plan.frozen import Resources
from misstep.plan.kinds import KINDS, MODEL_MIB, StageKind
from misstep.plan.params import PairsParams, Params
from misstep.spec.experiment import ExperimentSpec


@dataclass(frozen=True)
class GivenResources:
    """The resources of one kind of stage, with defaults filled in."""

    shards: int
    block_rows: int
    resources: Resources


def given_resources(spec: ExperimentSpec, kind: StageKind, params: Params) -> GivenResources:
    """Return what a stage is given: the fields of its kind, else the common ones, else the defaults. Stages of pairs
    run a model only where they choose sides by likelihood."""
    of, given = KINDS[kind], spec.resources.of(kind.value)
    local_teacher = kind is StageKind.SYNTHESIZE and spec.teacher.kind == "model"
    generates = of.generates or local_teacher
    scores = isinstance(params, PairsParams) and params.decoding is not None
    nodes, processes, zero_stage = given.training() if of.trains else (1, 1, 0)
    gpus = (given.gpus or 0) if of.trains or generates or scores else 0
    return GivenResources(
        shards=(given.shards or 1) if generates or of.shares_blocks else nodes,
        block_rows=given.block_rows or 64,
        resources=Resources(
            cpus=given.cpus or 1,
            memory_mib=(MODEL_MIB if local_teacher or scores else of.memory_mib)
            if given.memory is None
            else given.memory,
            batch_rows=given.batch_rows or 256,
            gpus=gpus,
            gpu_memory_mib=(given.gpu_memory or None) if gpus else None,
            gpu_memory_percent=90 if given.gpu_memory_percent is None else given.gpu_memory_percent,
            nodes=nodes,
            processes_per_node=processes,
            zero_stage=zero_stage,
        ),
    )
