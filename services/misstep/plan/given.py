"""What stages are given: cores, memory, GPUs, processes and shards, from ``spec.resources``."""

from __future__ import annotations

from dataclasses import dataclass

from misstep.plan.frozen import Resources
from misstep.plan.kinds import KINDS, MODEL_MIB, StageKind
from misstep.spec.experiment import ExperimentSpec
from misstep.spec.resources import StageResources


@dataclass(frozen=True)
class GivenResources:
    """What a stage of one kind is given, with defaults filled in."""

    shards: int
    block_rows: int
    resources: Resources


def given_resources(spec: ExperimentSpec, kind: StageKind) -> GivenResources:
    """What a stage of a kind is given: its own fields, else the common ones, else the defaults."""
    own: StageResources = getattr(spec.resources, kind.value)
    common = spec.resources.default

    def pick(field: str, default: int) -> int:
        value = getattr(own, field)
        value = getattr(common, field) if value is None else value
        return default if value is None else int(value)

    of = KINDS[kind]
    trains = of.trains
    local_teacher = kind is StageKind.SYNTHESIZE and spec.teacher.kind == "model"
    generates = of.generates or local_teacher
    gpus = pick("gpus", 0) if trains or generates else 0
    nodes = pick("nodes", 1) if trains else 1
    processes = pick("processes_per_node", max(1, gpus)) if trains else 1
    return GivenResources(
        shards=pick("shards", 1) if generates or of.shares_blocks else nodes,
        block_rows=pick("block_rows", 64),
        resources=Resources(
            cpus=pick("cpus", 1),
            memory_mib=pick("memory", MODEL_MIB if local_teacher else of.memory_mib),
            batch_rows=pick("batch_rows", 256),
            gpus=gpus,
            gpu_memory_mib=(pick("gpu_memory", 0) or None) if gpus else None,
            gpu_memory_percent=pick("gpu_memory_percent", 90),
            nodes=nodes,
            processes_per_node=processes,
            zero_stage=pick("zero_stage", 2 if nodes * processes > 1 else 0) if trains else 0,
        ),
    )
