"""Memory of one process of a stage: GPU memory if it has a GPU, else memory of the process. Pure.

Each result is a sum of named terms, so that the arithmetic can be shown. N is the model's parameters, P the training
processes. Terms of different phases (a training step, scoring a checkpoint) are not added: the larger phase counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from misstep.cost.architecture import Architecture
from misstep.plan import params as p
from misstep.plan.frozen import Resources

MIB = 1024**2
_LOGITS_TILE = 32768
"""Vocabulary columns that TRL's fused output layer processes at once."""
_BYTES = {"float32": 4, "bfloat16": 2}
CONTEXT_MIB = 1536
"""CUDA context, kernels, cuBLAS workspaces and NCCL buffers: conservative, not measured here."""
FRAGMENTATION = 0.05
"""Share of a GPU's memory lost to fragmentation in the caching allocator; conservative, not measured here."""
VLLM_WORKSPACE_MIB = 2048
"""Activations and CUDA graphs of vLLM at its default batch of tokens: conservative, not measured here."""
GENERATION_MIB = 880
"""A process with torch, transformers and the engine imported, plus allocator overhead; measured here."""
TRAINING_MIB = 910
"""The same with TRL; measured here."""
INSPECTION_MIB = 850
"""A process with torch and transformers that checks a model; measured here."""
TOKENIZER_BYTES = 3500
"""Bytes per token for reading a large vocabulary; measured here on one of 262,145 tokens."""
OTHER_MIB = 155
"""A process of a stage without a model; measured here."""
_BUCKET = 100_000_000
"""Elements of each of DeepSpeed's buffers for communication, as training sets them; three are counted."""
_LIVE = 1_000_000_000
"""Parameters that ZeRO 3 may hold gathered at once (DeepSpeed's default)."""


@dataclass(frozen=True)
class Term:
    """One summand."""

    name: str
    formula: str
    mib: float


@dataclass(frozen=True)
class Memory:
    """Memory that is used all the time, and the additional memory of each phase."""

    always: tuple[Term, ...]
    phases: dict[str, tuple[Term, ...]] = field(default_factory=dict)
    on_gpu: bool = False

    @property
    def terms(self) -> tuple[Term, ...]:
        """The summands of the largest phase."""
        sums = {name: sum(term.mib for term in terms) for name, terms in self.phases.items()}
        return self.always + (self.phases[max(sums, key=lambda name: sums[name])] if sums else ())

    @property
    def mib(self) -> float:
        """The peak."""
        return sum(term.mib for term in self.terms) * (1 + FRAGMENTATION if self.on_gpu else 1)


def term(name: str, formula: str, size: float) -> Term:
    """Make a summand of a size in bytes."""
    return Term(name, formula, size / MIB)


def fixed(name: str, mib: float) -> Term:
    """Make a summand that does not depend on the model."""
    return Term(name, "", mib)


def other_memory() -> Memory:
    """Memory of a stage that neither generates nor trains."""
    return Memory((fixed("process", OTHER_MIB),))


def inspection_memory(model: Architecture) -> Memory:
    """Memory of the check of a model, which reads its tokenizer and no weights."""
    tokenizer = term("tokenizer", f"{TOKENIZER_BYTES:,} B x vocabulary", TOKENIZER_BYTES * model.vocabulary)
    return Memory((fixed("process with torch", INSPECTION_MIB), tokenizer))


def generation_memory(
    model: Architecture, decoding: p.DecodingParams, resources: Resources, prompt_tokens: float
) -> Memory:
    """Memory of an engine that decodes ``batch_rows`` rows, each of a prompt and ``max_new_tokens``.

    vLLM always takes ``gpu_memory_percent`` of its GPU. Counted here is the minimum that it works with: weights divided
    over the GPUs of the shard, its workspace, and keys and values of one row.
    """
    size, gpus = _BYTES[decoding.dtype], max(1, resources.gpus)
    row = prompt_tokens + decoding.max_new_tokens
    on_gpu = resources.gpus > 0
    base = fixed("CUDA context", CONTEXT_MIB) if on_gpu else fixed("process with torch", GENERATION_MIB)
    if decoding.engine == "vllm":
        weights = term("weights", f"{size} B x N / {gpus} GPUs", size * model.parameters / gpus)
        cache = term(
            "keys and values of one row",
            f"{row:,.0f} tokens x {model.kv_elements:,} x {size} B / {gpus} GPUs",
            row * model.kv_elements * size / gpus,
        )
        return Memory((base, fixed("vLLM's workspace", VLLM_WORKSPACE_MIB), weights, cache), on_gpu=on_gpu)
    weights = term("weights", f"{size} B x N", size * model.parameters)
    return Memory((base, weights, *_decoding(model, resources.batch_rows, row, size)), on_gpu=on_gpu)


def training_memory(
    model: Architecture,
    optimiser: p.OptimiserParams,
    selection: p.SelectionParams | None,
    resources: Resources,
    *,
    row_tokens: float,
    prompt_tokens: float,
    sides: int,
) -> Memory:
    """Memory of one training process.

    Args:
        row_tokens: tokens of the longest row of a micro-batch, prompt included; ``optimiser.max_length`` for the bound.
        sides: sequences per row: 1, or 2 for pairs.
    """
    on_gpu = resources.gpus > 0
    half = resources.processes > 1 and optimiser.dtype == "bfloat16"  # with DeepSpeed; a single process uses autocast
    size = 2 if half else 4
    base = fixed("CUDA context", CONTEXT_MIB) if on_gpu else fixed("process with torch and TRL", TRAINING_MIB)
    tokens = optimiser.micro_batch_size * sides * row_tokens
    step = (*_activations(model, tokens, size, recomputed=on_gpu), *_output_layer(model, tokens))
    scored: tuple[Term, ...] = ()
    if resources.zero_stage == 3:
        live = min(_LIVE, model.parameters) * size
        step = (*step, term("gathered weights", f"at most 1e9 x {size} B", live))
        scored = (term("whole weights", f"{size} B x N", size * model.parameters),)
    phases = {"step": step}
    if selection is not None:  # each process answers its share of the problems
        rows = min(resources.batch_rows, math.ceil(selection.problems / resources.processes))
        row = prompt_tokens + selection.decoding.max_new_tokens
        phases["scoring"] = (*scored, *_decoding(model, rows, row, size))
    return Memory((base, *_states(model, optimiser, resources, half=half)), phases, on_gpu=on_gpu)


def _states(model: Architecture, optimiser: p.OptimiserParams, resources: Resources, *, half: bool) -> tuple[Term, ...]:
    """Weights, gradients and AdamW's state: 16 bytes a parameter, spread by ZeRO (arXiv 1910.02054)."""
    zero, processes = resources.zero_stage, resources.processes
    size = 2 if half else 4
    trained, name = model.parameters, "N"
    if optimiser.lora_rank is not None:
        trained, name = lora_parameters(model, optimiser.lora_rank), "N of the adapters"
    weights_by = processes if zero == 3 else 1
    rest_by = processes if zero else 1
    state, kept = (12, "float32 copy and AdamW") if half else (8, "AdamW")
    terms = [
        term("weights", _over(f"{size} B x N", weights_by), size * model.parameters / weights_by),
        term("gradients", _over(f"{size} B x {name}", rest_by), size * trained / rest_by),
        term(kept, _over(f"{state} B x {name}", rest_by), state * trained / rest_by),
    ]
    if not half and resources.gpus and optimiser.dtype == "bfloat16":
        terms.append(term("bfloat16 copies (autocast)", "2 B x N", 2 * model.parameters))
    if half and not zero:
        terms.append(term("float32 gradients", f"4 B x {name}", 4 * trained))
    if processes > 1 and resources.gpus:
        terms.append(term("DeepSpeed's buckets", f"at most 3 x 1e8 x {size} B", 3 * min(_BUCKET, trained) * size))
    return tuple(terms)


def lora_parameters(model: Architecture, rank: int) -> int:
    """Parameters of adapters on every linear layer but the output's."""
    query, key = model.heads * model.head_dim, model.kv_heads * model.head_dim
    attention = (model.hidden + query) * 2 + (model.hidden + key) * 2
    return rank * model.layers * (attention + 3 * (model.hidden + model.intermediate))


def _activations(model: Architecture, tokens: float, size: int, *, recomputed: bool) -> tuple[Term, ...]:
    """Activations that the backward pass needs. A layer keeps per token: 7 x hidden (norms in and out, residuals), 3 x
    queries, 3 x keys (projections, rotated, attended) and 4 x the feed-forward's width (gate, up, activation, product);
    its gradients add 2 x that width. No attention matrix: the kernels are fused. With recomputation (on GPUs) only each
    layer's input is kept, and one layer in full."""
    query, key = model.heads * model.head_dim, model.kv_heads * model.head_dim
    kept = 7 * model.hidden + 3 * query + 3 * key + 4 * model.intermediate
    layer = kept + 2 * model.intermediate
    if recomputed:
        inputs = model.layers * model.hidden
        return (
            term("layer inputs", f"{tokens:,.0f} tokens x {inputs:,} x {size} B", tokens * inputs * size),
            term("one layer recomputed", f"{tokens:,.0f} tokens x {layer:,} x {size} B", tokens * layer * size),
        )
    whole = model.layers * kept
    return (term("activations", f"{tokens:,.0f} tokens x {whole:,} x {size} B", tokens * whole * size),)


def _output_layer(model: Architecture, tokens: float) -> tuple[Term, ...]:
    columns = min(model.vocabulary, _LOGITS_TILE)
    formula = f"{tokens:,.0f} tokens x {columns:,} logits x 4 B x 2"
    return (term("logits and their gradient", formula, tokens * columns * 4 * 2),)


def _decoding(model: Architecture, rows: int, row: float, size: int) -> tuple[Term, ...]:
    cache, logits = rows * row * model.kv_elements * size, rows * model.vocabulary * 4 * 3
    return (
        term("keys and values", f"{rows} rows x {row:,.0f} tokens x {model.kv_elements:,} x {size} B", cache),
        term("logits while drawing", f"{rows} rows x {model.vocabulary:,} x 4 B x 3", logits),
    )


def _over(formula: str, processes: int) -> str:
    return f"{formula} / {processes} processes" if processes > 1 else formula
