"""Refuse stages that cannot fit their GPUs, before anything starts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from misstep.cost.memory import Memory
from misstep.cost.stage import PlanCost, StageCost, decoding_of
from misstep.errors import BadInput
from misstep.plan import params as p
from misstep.plan.frozen import FrozenStage, Resources
from misstep.text import memory_text

_GPUS = (2, 4, 8)


def refuse_misfits(cost: PlanCost) -> None:
    """Check every stage with GPUs against the memory of one GPU, for the longest rows that its settings allow.

    Stages without ``gpuMemory`` are not checked, and neither are models of unknown shape.

    Raises:
        BadInput: a stage cannot fit, or its attention heads cannot be spread over its GPUs. The error names settings
            that work.
    """
    checked: set[tuple[object, ...]] = set()
    for found in cost.stages.values():
        model, resources = cost.coster.model_of(found.stage), found.stage.resources
        if model is None or found.most_memory is None or not found.on_gpu:
            continue
        key = (found.stage.kind, resources, found.most_memory.terms)
        if key in checked:
            continue
        checked.add(key)
        _refuse_uneven_heads(found.stage, model.heads, model.name)
        if resources.gpu_memory_mib is not None and found.most_memory.mib > room_mib(found.stage):
            raise _too_large(cost, found)


def room_mib(stage: FrozenStage) -> float:
    """Return how much of one GPU's memory a stage may use."""
    assert stage.resources.gpu_memory_mib is not None
    share = stage.resources.gpu_memory_percent / 100 if _uses_vllm(stage) else 1.0
    return stage.resources.gpu_memory_mib * share


def _uses_vllm(stage: FrozenStage) -> bool:
    decoding = decoding_of(stage.typed_params())
    return decoding is not None and decoding.engine == "vllm"


def _refuse_uneven_heads(stage: FrozenStage, heads: int, model: str) -> None:
    gpus = stage.resources.gpus
    if _uses_vllm(stage) and heads % gpus:
        fitting = ", ".join(str(n) for n in range(1, gpus + 1) if heads % n == 0)
        raise BadInput(
            f"spec.resources.{stage.kind}.gpus",
            gpus,
            f"vLLM spreads the {heads} attention heads of {model} evenly over a shard's GPUs: use one of {fitting}; "
            "more GPUs are more shards.",
        )


def _too_large(cost: PlanCost, found: StageCost) -> BadInput:
    stage, memory = found.stage, found.most_memory
    assert memory is not None
    where, has = f"spec.resources.{stage.kind}", room_mib(stage)
    largest = max(memory.terms, key=lambda term: term.mib)
    value = (
        f"stage {stage.name} needs {memory_text(memory.mib)} a GPU{_now(stage)}, and has {memory_text(has)}; "
        f"the largest part is {largest.name}, {memory_text(largest.mib)}"
    )
    ways = []
    for ladder in _ladders(cost, stage):
        fits = next(((text, other) for text, other in ladder if other.mib <= has), None)
        if fits is not None:
            ways.append(f"{fits[0]} needs {memory_text(fits[1].mib)}")
    if ways:
        return BadInput(where, value, f"What fits: {'; '.join(ways[:4])}.")
    return BadInput(where, value, "Use GPUs with more memory, a smaller model, or train adapters (loraRank).")


def _now(stage: FrozenStage) -> str:
    resources, params = stage.resources, stage.typed_params()
    if isinstance(params, p.SftParams | p.DpoParams):
        return (
            f" with zeroStage {resources.zero_stage} on {resources.processes} GPUs, microBatchSize "
            f"{params.optimiser.micro_batch_size} and batchRows {resources.batch_rows}"
        )
    return f" with gpus {resources.gpus} and batchRows {resources.batch_rows}"


_Way = tuple[str, Memory]


def _ladders(cost: PlanCost, stage: FrozenStage) -> Iterator[list[_Way]]:
    """Yield changes to try, from the smallest to the largest, as lists; of each list the first change that fits is
    named."""
    resources, uses_vllm = stage.resources, _uses_vllm(stage)
    fewer = [rows for rows in (128, 64, 32, 16, 8) if rows < resources.batch_rows]
    if not uses_vllm:
        yield [_way(cost, stage, {}, rows) for rows in fewer]
    if isinstance(stage.typed_params(), p.SftParams | p.DpoParams):
        few = next((rows for rows in fewer if rows <= 32), None)
        yield [_way(cost, stage, {}, rows, micro=1) for rows in (None, few)]
        for gpus in sorted({resources.processes_per_node, *(n for n in _GPUS if n > resources.processes_per_node)}):
            for zero in (2, 3):
                if gpus * resources.nodes > 1 and (gpus, zero) != (resources.processes_per_node, resources.zero_stage):
                    spread = {"gpus": gpus, "processes_per_node": gpus, "zero_stage": zero}
                    yield [_way(cost, stage, spread, rows) for rows in (None, few)]
    elif uses_vllm and (model := cost.coster.model_of(stage)) is not None:
        heads = model.heads
        yield [_way(cost, stage, {"gpus": gpus}) for gpus in _GPUS if gpus > resources.gpus and heads % gpus == 0]


def _way(
    cost: PlanCost, stage: FrozenStage, spread: dict[str, int], rows: int | None = None, micro: int | None = None
) -> _Way:
    """Name a change, and return the memory that it would need."""
    changes = spread | ({} if rows is None else {"batch_rows": rows})
    changed = stage.model_copy(update={"resources": stage.resources.model_copy(update=changes)})
    said = []
    if "zero_stage" in spread:
        said.append(f"zeroStage {spread['zero_stage']} on {spread['gpus'] * stage.resources.nodes} GPUs")
    elif "gpus" in spread:
        said.append(f"gpus {spread['gpus']}")
    if micro is not None:
        optimiser = {**stage.params["optimiser"], "micro_batch_size": micro}
        changed = changed.model_copy(update={"params": {**stage.params, "optimiser": optimiser}})
        said.append(f"microBatchSize {micro}")
    if rows is not None:
        said.append(f"batchRows {rows}")
    return " and ".join(said), cost.coster.memory(changed, at_most=True)


def resources_text(resources: Resources) -> str:
    """Describe the resources of one shard or training stage."""
    if not resources.gpus:
        return f"{resources.cpus} core{'s' * (resources.cpus > 1)}"
    nodes = f"{resources.nodes} x " if resources.nodes > 1 else ""
    zero = f", ZeRO {resources.zero_stage}" if resources.zero_stage else ""
    return f"{nodes}{resources.gpus} GPU{'s' * (resources.gpus > 1)}{zero}"
