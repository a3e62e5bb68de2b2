"""Weights that do not fit a configuration: name them and the probable cause."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misstep.errors import BadInput

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_EXPERT = re.compile(r"^(.*\.experts)\.(\d+)\.(.+)$")
_WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "base_model.model.", "model.model.", "policy.", "llm.")
"""Prefixes that training code adds to the names of weights."""
_OTHER_HEADS = re.compile(r"(^|\.)(score|classifier|v_head|value_head|reward_head|qa_outputs|regression_head)\b")
_ADAPTER = re.compile(r"\.(lora_[AB]|base_layer|lora_embedding_[AB]|lora_magnitude_vector)\b")
_OLD_BUFFERS = re.compile(
    r"\.(masked_bias|inv_freq|cos_cached|sin_cached|causal_mask|position_ids)$|\.(attn|attention)\.bias$"
)
"""Tensors that earlier versions saved with the weights and that are computed today: masks and positions."""

Shape = tuple[int, ...]


def unused_weights(names: Iterable[str]) -> list[str]:
    """Return, sorted, the unused names that are weights, not masks or positions."""
    return sorted(name for name in names if not _OLD_BUFFERS.search(name))


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """How the weights in the files differ from those of the model; true if they do.

    Args:
        config: the configuration of the model that was built.
        names: name -> shape of every tensor in the files.
        missing: names of the model that the files lack.
        unused: names in the files that the model does not have.
        misshapen: name, shape in the files, shape in the model.
    """

    config: Any
    names: Mapping[str, Shape]
    model_class: str
    missing: Sequence[str] = ()
    unused: Sequence[str] = ()
    misshapen: Sequence[tuple[str, Shape, Shape]] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unused or self.misshapen)

    def refusal(self, folder: Path, field: str, error: Exception | None = None) -> BadInput:
        """Return the error that names counts, up to three weights of each kind, and the probable cause.

        Args:
            error: the error of transformers, if it could not even say which weights do not fit.
        """
        if error is not None:
            what = "weights that transformers cannot convert to the form of"
            details = self._lacking_experts() or f"It says: {(str(error).splitlines() or [repr(error)])[0]}"
        else:
            what = "weights that do not belong to"
            details = "; ".join(self._parts()) + "."
        return BadInput(
            field, f"{what} the {self.model_class} that config.json builds ({folder})", f"{details} {self._cause()}"
        )

    def _parts(self) -> Iterable[str]:
        if self.missing:
            yield f"{len(self.missing)} missing: {_some(self.missing)}"
        if self.unused:
            yield f"{len(self.unused)} unused: {_some(self.unused)}"
        if self.misshapen:
            shapes = [f"{name} is {_spell(held)}, wanted {_spell(wanted)}" for name, held, wanted in self.misshapen]
            yield f"{len(shapes)} of another shape: {_some(shapes)}"

    def _cause(self) -> str:
        """Return a sentence on the probable cause with its fix."""
        if any(_ADAPTER.search(name) for name in self.unused):
            return "An adapter was saved inside the model: merge it (PEFT: merge_and_unload) and save again."
        if prefix := self._wrapper():
            return (
                f"The names begin with {prefix!r}, which training code has added: save the model without this prefix."
            )
        if any(_OTHER_HEADS.search(name) for name in self.unused):
            return "These are the weights of a classifier, reward or value model: use the causal language model."
        if self.missing and not self.unused and all("lm_head" in n or "embed_out" in n for n in self.missing):
            return (
                "The model's head was not saved, as in embedding models: use the causal language model, or set "
                "tie_word_embeddings to true in config.json if the head is the embedding."
            )
        if layers := self._layers():
            return layers
        if rows := self._vocabulary():
            return rows
        if self.misshapen and not self.missing and not self.unused:
            return "config.json is of another size of the model: fetch the config.json that belongs to these weights."
        if self.missing and not self.unused and not self.misshapen:
            return (
                "The folder is not complete, or config.json belongs to another model: fetch both again from one place."
            )
        return (
            "config.json is of another architecture, version or size: fetch it again from where the weights are from."
        )

    def _wrapper(self) -> str | None:
        missing = set(self.missing)
        for prefix in _WRAPPERS:
            if missing and any(n.startswith(prefix) and _ends_in(missing, n.removeprefix(prefix)) for n in self.unused):
                return prefix
        return None

    def _layers(self) -> str | None:
        wanted = getattr(self.config, "num_hidden_layers", None)
        held = 1 + max((int(match[1]) for name in self.names if (match := _LAYER.search(name))), default=-1)
        if not isinstance(wanted, int) or not held or held == wanted:
            return None
        numbers = [int(match[1]) for name in (*self.missing, *self.unused) if (match := _LAYER.search(name))]
        if not numbers or min(numbers) < min(held, wanted):
            return None
        return (
            f"The files hold {held} layers, and config.json says {wanted} (num_hidden_layers): fetch the config.json "
            "that belongs to these weights."
        )

    def _vocabulary(self) -> str | None:
        wanted = getattr(self.config, "vocab_size", None)
        rows = {held[0] for _, held, shape in self.misshapen if held and shape and shape[0] == wanted != held[0]}
        if self.missing or self.unused or len(rows) != 1 or not all(s[1:] == h[1:] for _, h, s in self.misshapen):
            return None
        return f"The vocabulary was resized without config.json: set vocab_size to {rows.pop()} in it."

    def _lacking_experts(self) -> str | None:
        """Name experts that are missing in some layers: transformers merges all experts of a layer into one weight."""
        found: dict[tuple[str, str], set[int]] = {}
        for name in self.names:
            if match := _EXPERT.match(name):
                found.setdefault((match[1], match[3]), set()).add(int(match[2]))
        every = set().union(*found.values()) if found else set()
        lacking = [f"{head}.{i}.{tail}" for (head, tail), held in sorted(found.items()) for i in sorted(every - held)]
        return f"{len(lacking)} missing: {_some(lacking)}." if lacking else None


def _ends_in(names: Iterable[str], ending: str) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for name in names)


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")


def _spell(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a single number"
