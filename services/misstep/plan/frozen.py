"""A stage with everything that it needs to run, fixed: the unit that a plan consists of and a process receives."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from misstep.plan import params as p
from misstep.plan.kinds import KINDS, StageKind
from misstep.store.description import Storage


class External(BaseModel):
    """Data or a model from outside the store. Only ``digest`` enters the key: where the bytes lie does not matter."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    uri: str
    """A local path, ``file://``, ``s3://`` or ``hf://org/name@revision``."""
    digest: str


class Resources(BaseModel):
    """What one shard of a stage is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cpus: int = 1
    """Threads of one shard; results on a CPU are the same bytes only for the same number."""
    memory_mib: int = 1024
    """What one shard is expected to need; the runner starts no more than fit."""
    batch_rows: int = 256
    """Rows that the engine decodes at once; never changes a result (up to floating-point ties)."""
    gpus: int = 0
    """GPUs of one shard, or of one node of a training stage; 0 runs on processor cores."""
    gpu_memory_mib: int | None = None
    """Memory of one GPU, where it is known."""
    gpu_memory_percent: int = 90
    """Share of a GPU's memory that vLLM takes."""
    nodes: int = 1
    """Nodes that run one training stage together."""
    processes_per_node: int = 1
    """Training processes on one node."""
    zero_stage: int = 0
    """DeepSpeed's ZeRO stage; 0 where nothing is spread."""

    @property
    def processes(self) -> int:
        """Training processes on all nodes together."""
        return self.nodes * self.processes_per_node

    @property
    def distributed(self) -> bool:
        """Tell whether training runs as ranks of their own under torchrun, not in the stage's process."""
        return self.processes > 1 or self.gpus > 1 or self.zero_stage > 0

    @property
    def threads(self) -> int:
        """Threads of one training process: those of a node share its cores."""
        return max(1, self.cpus // self.processes_per_node)


class Endpoint(BaseModel):
    """How a teacher's server is reached. None of it enters a key: the same model gives the same kind of answers at
    any address and any pace."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    url: str
    """Base address, without a slash at its end."""
    api_key_env: str | None = None
    """Environment variable that holds the API key."""
    concurrency: int = 8
    """Requests under way at a time, over all shards; likewise the two rates."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout_seconds: float = 300.0
    """Of one request, its answer included."""


class FrozenStage(BaseModel):
    """One stage: what determines its result, where its inputs and its artifact lie, and what it is given to run."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: StageKind
    name: str
    """For people, unique in a plan: ``sft-d250-s0``."""
    key: str
    params: dict[str, Any]
    inputs: dict[str, str] = Field(default_factory=dict)
    """role -> key of the stage that made it."""
    after: tuple[str, ...] = ()
    """Keys of stages that must have passed before this one starts, but which it does not read: checks. No part of the
    key, so that a new version of a check re-keys no finished work."""
    externals: dict[str, External] = Field(default_factory=dict)
    storage: Storage
    shards: int = 1
    """Processes or pods that share the blocks; of a training stage its nodes, which do its one block together."""
    block_rows: int = 64
    """Rows of the first input (problems) in one block, the unit of commit and resume inside a stage."""
    resources: Resources = Resources()
    endpoint: Endpoint | None = None
    """For ``synthesize`` with a teacher behind an API."""

    @property
    def needs(self) -> frozenset[str]:
        """Keys of all stages that must be done before this one starts."""
        return frozenset(self.inputs.values()) | frozenset(self.after)

    def typed_params(self) -> p.Params:
        """Parse ``params`` by the stage's kind. Raises pydantic's ValidationError."""
        return KINDS[self.kind].params.model_validate(self.params)


def stage_key(kind: StageKind, params: dict[str, Any], inputs: dict[str, str], externals: dict[str, External]) -> str:
    """Hash what determines a stage's result: kind, its result version, params, input keys, digests of externals."""
    return key_of(kind, KINDS[kind].version, params, inputs, {role: e.digest for role, e in externals.items()})


def key_of(
    kind: StageKind, version: int, params: dict[str, Any], inputs: dict[str, str], digests: dict[str, str]
) -> str:
    """Make the key of a stage by the code of one result version; ``digests`` are those of its externals, by role."""
    text = json.dumps(
        {"kind": kind.value, "version": version, "params": params, "inputs": inputs, "externals": digests},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return f"{kind.value}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"
