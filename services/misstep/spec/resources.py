"""``spec.resources``: what each kind of stage gets to run. Nothing here enters a stage's key: resources decide how fast
a result is computed, not what it is (up to the order of floating-point sums)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from misstep.spec.fields import Count, Mebibytes, Percent, SpecModel


class StageResources(SpecModel):
    """What one shard of a stage gets."""

    cpus: Count | None = None
    """Processor cores, and so threads. Results on a CPU are identical only for the same number."""
    memory: Mebibytes | None = None
    """Memory, for example `2Gi`."""
    shards: int | None = Field(default=None, ge=1, le=10_000)
    """Processes or pods that share the stage's work."""
    block_rows: Count | None = None
    """Problems in one block of work. A block is committed, and resumed, as a whole."""
    batch_rows: Count | None = None
    """Sequences that the engine decodes at the same time."""
    gpus: int | None = Field(default=None, ge=0, le=64)
    """GPUs of one shard (of one node, for training). 0, the default, runs on processor cores."""
    gpu_memory: Mebibytes | None = None
    """Memory of one such GPU, for example `80Gi`; `misstep plan` refuses stages that cannot fit into it."""
    gpu_memory_percent: Percent | None = None
    """Share of a GPU's memory that the vLLM engine takes; 90 by default."""
    nodes: int | None = Field(default=None, ge=1, le=1024)
    """Nodes that train one model together; for sft, rft and dpo."""
    processes_per_node: int | None = Field(default=None, ge=1, le=64)
    """Training processes on each node; by default one per GPU, and one if there is no GPU."""
    zero_stage: Literal[0, 2, 3] | None = None
    """What DeepSpeed shards over the training processes: nothing (0), gradients and optimiser state (2, the default for
    several processes), or the weights too (3, for models that do not fit one GPU)."""

    @model_validator(mode="after")
    def _a_process_a_gpu(self) -> StageResources:
        if self.gpus and self.processes_per_node not in (None, self.gpus):
            raise ValueError(f"processesPerNode, {self.processes_per_node}, must be gpus, {self.gpus}, or be left out")
        return self

    def training(self) -> TrainingProcesses:
        """Return the processes that train one model with these resources, defaults filled in."""
        nodes, per_node = self.nodes or 1, self.processes_per_node or max(1, self.gpus or 0)
        zero_stage = (2 if nodes * per_node > 1 else 0) if self.zero_stage is None else self.zero_stage
        return TrainingProcesses(nodes, per_node, zero_stage)


class TrainingProcesses(NamedTuple):
    """The processes that train one model, and what DeepSpeed spreads over them."""

    nodes: int
    per_node: int
    zero_stage: int

    @property
    def total(self) -> int:
        return self.nodes * self.per_node


class Resources(SpecModel):
    """Resources for all stages, and for single kinds of stage."""

    default: StageResources = StageResources()
    problems: StageResources = StageResources()
    inspect: StageResources = StageResources()
    synthesize: StageResources = StageResources()
    curate: StageResources = StageResources()
    sft: StageResources = StageResources()
    sample: StageResources = StageResources()
    verify: StageResources = StageResources()
    rft: StageResources = StageResources()
    credit: StageResources = StageResources()
    pairs: StageResources = StageResources()
    dpo: StageResources = StageResources()
    score: StageResources = StageResources()
    report: StageResources = StageResources()

    def of(self, kind: str) -> StageResources:
        """Return what a kind of stage is given: its own fields, and those of ``default`` where it has none."""
        own: StageResources = getattr(self, kind)
        return own.model_copy(update={name: getattr(self.default, name) for name, value in own if value is None})
