"""A frozen stage: everything that one stage needs to run. A plan consists of them, and a process receives one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from misstep.plan import params as p
from misstep.plan.kinds import KINDS, StageKind
from misstep.store.description import Storage


class External(BaseModel):
    """Data or a model from outside the store. Only ``digest`` enters the key: the location does not matter."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    uri: str
    """A local path, ``file://``, ``s3://`` or ``hf://org/name@revision``."""
    digest: str


class Resources(BaseModel):
    """The resources of one shard of a stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cpus: int = 1
    """Threads of one shard; results on a CPU are identical only for the same number."""
    memory_mib: int = 1024
    """Memory that one shard is expected to need; the runner starts only as many shards as fit."""
    batch_rows: int = 256
    """Rows that the engine decodes at the same time; does not change results (up to floating-point ties)."""
    gpus: int = 0
    """GPUs of one shard, or of one node of a training stage; 0 runs on processor cores."""
    gpu_memory_mib: int | None = None
    """Memory of one GPU, if known."""
    gpu_memory_percent: int = 90
    """Share of a GPU's memory that vLLM takes."""
    nodes: int = 1
    """Nodes that run one training stage together."""
    processes_per_node: int = 1
    """Training processes on one node."""
    zero_stage: int = 0
    """DeepSpeed's ZeRO stage; 0 if nothing is sharded."""

    @property
    def processes(self) -> int:
        """Training processes on all nodes together."""
        return self.nodes * self.processes_per_node

    @property
    def distributed(self) -> bool:
        """Return whether training runs as separate ranks under torchrun, not in the stage's process."""
        return self.processes > 1 or self.gpus > 1 or self.zero_stage > 0

    @property
    def threads(self) -> int:
        """Threads of one training process: those of a node share its cores."""
        return max(1, self.cpus // self.processes_per_node)


class Endpoint(BaseModel):
    """How to reach a teacher's server. Nothing here enters a key: the same model gives the same kind of answers at any
    address and any rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    url: str
    """Base address, without a trailing slash."""
    api_key_env: str | None = None
    """Environment variable that holds the API key."""
    concurrency: int = 8
    """Requests in flight at the same time, over all shards; the two rates are also over all shards."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout_seconds: float = 300.0
    """Time limit of one request, its answer included."""


class FrozenStage(BaseModel):
    """One stage: what determines its result, where its inputs and its artifact are, and its resources."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: StageKind
    name: str
    """For people, unique in a plan: ``sft-d250-s0``."""
    key: str
    params: dict[str, Any]
    inputs: dict[str, str] = Field(default_factory=dict)
    """role -> key of the stage that made it."""
    after: tuple[str, ...] = ()
    """Keys of stages (checks) that must pass before this one starts, but which it does not read. Not part of the key,
    so that a new version of a check does not change the keys of finished work."""
    externals: dict[str, External] = Field(default_factory=dict)
    storage: Storage
    shards: int = 1
    """Processes or pods that share the blocks; for a training stage its nodes, which compute its one block together."""
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
