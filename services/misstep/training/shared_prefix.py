"""DPO's forward pass in which the common prefix of a pair is run once: prefix sharing (arXiv 2410.20305).

A batch becomes one sequence in which shared tokens occur once and padding is small (`prefix_layout`). The model's own
layers run on it; only its attention is replaced (`prefix_attention`). Gradients flow into the common prefix from both
sides. The LM head gets only the hidden states that predict a judged token.

It is used for models whose log-probabilities are the same with and without it, checked on a few random tokens. Others
train with TRL's forward pass.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from misstep.generation.agreement import positions_alone
from misstep.generation.probe import FAULTS
from misstep.training.prefix_attention import Packing, use_shared_attention
from misstep.training.prefix_layout import plan_layout

_log = logging.getLogger(__name__)

_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Relative error of log-probabilities that the check allows."""
_HALF_TOLERANCE = 0.1
"""The same in half precision, including autocast: attention implementations differ there. A real difference is
larger."""


@dataclass(frozen=True)
class Costs:
    """The cost model for the decision, in multiply-adds of a layer. docs/training.md has measurements and reasons."""

    weights: int
    """Multiply-adds of a layer's linear maps for one token."""
    attention: int
    """Heads times head size."""
    causal_share: float
    """The share of a causal attention's square that is computed: PyTorch's kernel for CPUs computes all of it."""
    block_tokens: int
    """The cost of an additional block, in tokens: two attention calls per layer."""

    @classmethod
    def of(cls, model: PreTrainedModel) -> Costs:
        config = model.config
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        # DeepSpeed's stage 3 leaves empty parameters that still have their size.
        sizes = {name: getattr(p, "ds_numel", p.numel()) for name, p in model.base_model.named_parameters()}
        weights = sum(count for name, count in sizes.items() if "embed" not in name) // config.num_hidden_layers
        share, block = (1.0, 32) if model.device.type == "cpu" else (0.5, 256)
        return cls(weights, config.num_attention_heads * size, share, block)

    def worth_sharing(self, shared: int, behind: int) -> bool:
        """Return whether the shorter row of a pair is cheaper as a branch of ``behind`` tokens than as a separate row.

        A branch saves the linear maps over the ``shared`` tokens; a separate row saves the part that a causal kernel
        skips.
        """
        length = shared + behind
        row = self.weights * length + 2 * self.attention * self.causal_share * length**2
        branch = self.weights * behind + 2 * self.attention * behind * length
        return branch < row


class PairForward:
    """Replaces the model in TRL's loss, inside `use_shared_attention`, with the same arguments and outputs."""

    def __init__(self, model: Callable[..., Any], costs: Costs) -> None:
        self._model, self._costs = model, costs

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **kwargs: Any
    ) -> Any:
        """Score a batch of pairs.

        Args:
            input_ids, attention_mask: (2 x pairs, width), padded on the right, chosen sides first.
            labels: the same shape, -100 for tokens that are not judged.

        Returns:
            TRL's ``FusedCausalLMOutput``, each field (2 x pairs, width - 1), zero for tokens that are not judged.
        """
        device = input_ids.device
        lengths = attention_mask.sum(1).cpu().numpy()
        layout = plan_layout(input_ids.cpu().numpy(), lengths, self._costs.worth_sharing, self._costs.block_tokens)
        source, positions, slots = (
            torch.from_numpy(array).to(device) for array in (layout.source, layout.positions, layout.slots)
        )
        judged = labels[:, 1:] != -100
        out = self._model(
            input_ids=input_ids.flatten()[source][None],
            position_ids=positions[None],
            shift_labels=labels[:, 1:][judged][None],
            packing=Packing.of(layout, slots[:, :-1][judged]),
            **kwargs,
        )
        fields = {
            name: x.new_zeros(judged.shape).masked_scatter(judged, x) for name, x in out.items() if x.shape[:1] == (1,)
        }
        return type(out)(**{**out, **fields})


class SharesPrefixes:
    """A mixin before TRL's DPO trainer, which passes a `PairForward` to its loss if the model supports it."""

    model: Any
    accelerator: Any
    _costs: Costs | None
    _chosen = False

    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        with self._sharing(model):
            return super().compute_ref_log_probs(self._forward_of(model), inputs)  # type: ignore[misc]

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        # The backward pass is inside the block too, because gradient checkpointing runs the attention again.
        with self._sharing(model):
            loss: torch.Tensor = super().training_step(model, *args, **kwargs)  # type: ignore[misc]
        return loss

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        return super()._compute_loss(self._forward_of(model), inputs, return_outputs)  # type: ignore[misc]

    def _forward_of(self, model: Any) -> Any:
        return model if self._costs is None else PairForward(model, self._costs)

    @contextmanager
    def _sharing(self, model: Any) -> Iterator[None]:
        unwrapped = self.accelerator.unwrap_model(self.model)
        inner = getattr(unwrapped, "get_base_model", lambda: unwrapped)()
        if not self._chosen:
            reason = why_not(inner)
            if reason is None:
                with torch.no_grad(), self.accelerator.autocast():
                    reason = difference(model, inner)
            if reason is not None:
                _log.info("the two sides of each pair are run separately: %s", reason)
            self._costs = Costs.of(inner) if reason is None else None
            self._chosen = True
        with nullcontext() if self._costs is None else use_shared_attention(inner):
            yield


def why_not(model: PreTrainedModel) -> str | None:
    """Return why a model's configuration excludes packed batches; None if it does not."""
    config = model.config
    windows = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if config.get_text_config(decoder=True) is not config:
        return "the model is not for text alone"
    if not getattr(model, "_supports_attention_backend", False) or config._attn_implementation != "sdpa":
        return f"its attention, {config._attn_implementation}, cannot be replaced"
    if windows or (getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)):
        return "its attention does not see the whole text"
    if getattr(model, "_is_stateful", False):
        return "it carries a state from token to token"
    if getattr(config, "attention_dropout", 0):
        return "its attention has dropout"
    if not positions_alone(config):
        return "its rotary positions depend on the length of the text"
    if hasattr(config, "output_router_logits"):
        return "it is a mixture of experts"
    return None


def difference(model: Callable[..., Any], inner: PreTrainedModel) -> str | None:
    """Compare log-probabilities with the plain forward pass on three small pairs; None if they agree.

    Args:
        model: ``inner``, with TRL's fused LM head, or what wraps it.
    """
    batch = {name: x.to(inner.device) for name, x in _probe(inner.config.vocab_size).items()}
    plain = model(**batch, use_cache=False, fused_lm_head=True).log_probs.float()
    always = Costs(weights=1, attention=0, causal_share=1.0, block_tokens=0)
    try:
        with use_shared_attention(inner):
            shared = PairForward(model, always)(**batch, use_cache=False, fused_lm_head=True).log_probs.float()
    except torch.OutOfMemoryError:
        raise
    except FAULTS as refused:
        return str(refused) or type(refused).__name__
    device = inner.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inner.dtype
    error = float((shared - plain).norm() / plain.norm().clamp_min(1e-9))
    if error < _TOLERANCE.get(dtype, _HALF_TOLERANCE):
        return None
    return f"log-probabilities differ by {error:.1e} of their size from those of the plain forward pass"


def _probe(vocabulary: int) -> dict[str, torch.Tensor]:
    """Three pairs with common prefixes of 6, 5 and 1 tokens; that of the second extends beyond its prompt of 3."""
    ids = np.random.default_rng(0).integers(0, vocabulary, (6, 10))
    for pair, alike in enumerate((6, 5, 1)):
        ids[3 + pair, :alike] = ids[pair, :alike]
    prompts, lengths = np.array([6, 3, 1, 6, 3, 1]), np.array([10, 7, 9, 8, 10, 6])
    columns = np.arange(ids.shape[1])
    mask = columns < lengths[:, None]
    labels = np.where(mask & (columns >= prompts[:, None]), ids, -100)
    arrays = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
