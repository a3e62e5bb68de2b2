"""``spec.resources``: what each kind of stage gets to run. Nothing here enters a stage's key: resources decide how fast
a result is computed, not what it is (up to the order of floating-point sums)."""

from __future__ import annotations

from typing import Literal

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

    def training_processes(self, method: str) -> tuple[int, int]:
        """Return how many processes train one model of a method (sft, rft, dpo), and with which ZeRO stage."""
        own: StageResources = getattr(self, method)

        def pick(field: str, default: int) -> int:
            value = getattr(own, field)
            value = getattr(self.default, field) if value is None else value
            return default if value is None else int(value)

        processes = pick("nodes", 1) * pick("processes_per_node", max(1, pick("gpus", 0)))
        return processes, pick("zero_stage", 2 if processes > 1 else 0)
