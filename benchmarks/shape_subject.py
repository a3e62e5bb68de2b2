"""The models of benchmarks/shapes.py: random weights of a shape, how much is run of them, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.generation import BASE, peak_mib
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from misstep.cost.architecture import KNOWN, Architecture, architecture_from
from misstep.cost.memory import Memory
from misstep.cost.throughput import What, rate_of
from misstep.plan.frozen import Resources

TINY = "tiny"
_TINY = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_attention_heads": 8,
    "vocab_size": 4096,
    "max_position_embeddings": 2048,
}
MIB = 1024**2


@dataclass(frozen=True)
class Sizes:
    """How much is run."""

    rows: int
    """Rows that an engine decodes at once; four times as many samples are drawn."""
    prompt: int
    new: int
    row: int
    """Tokens of a row of SFT."""
    micro: int
    """Rows, or pairs, of a forward pass; a step has two."""
    steps: int
    dtype: Any


ON_GPU = Sizes(rows=64, prompt=128, new=256, row=512, micro=4, steps=12, dtype="bfloat16")
ON_CORES = Sizes(rows=16, prompt=32, new=32, row=128, micro=2, steps=4, dtype="float32")


@dataclass(frozen=True)
class Subject:
    """The shape that is measured, and where."""

    name: str
    config: Mapping[str, Any]
    work: Path

    @classmethod
    def named(cls, name: str, work: Path) -> Subject:
        """A shape of the table of models, or the tiny one."""
        return cls(name, _TINY if name == TINY else KNOWN[name], work)

    @property
    def on_gpu(self) -> bool:
        return torch.cuda.is_available()

    @property
    def sizes(self) -> Sizes:
        return ON_GPU if self.on_gpu else ON_CORES

    @property
    def resources(self) -> Resources:
        return Resources(cpus=1, gpus=int(self.on_gpu), batch_rows=self.sizes.rows, memory_mib=3072)

    @property
    def architecture(self) -> Architecture:
        found = architecture_from(self.name, self.config)
        assert found is not None
        return found

    @property
    def device(self) -> str:
        return torch.cuda.get_device_name(0) if self.on_gpu else "one core"

    def rate(self, engine: str, what: What) -> float | None:
        """Tokens per second that the plan counts with; None for a device that its table lacks."""
        names = {"h100": ("H100", "H200"), "a100": ("A100",), "core": ("one core",)}
        for device, known in names.items():
            if any(name in self.device for name in known):
                return rate_of(device, engine, what).tokens_per_second(self.architecture.parameters)
        return None

    def with_layers(self, layers: int) -> Subject:
        """The same shape with fewer layers."""
        return Subject(self.name, {**self.config, "num_hidden_layers": layers}, self.work)

    def model(self, dtype: str) -> Any:
        """Build the model with random weights, always the same ones."""
        special = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
        config = AutoConfig.for_model(**{**self.config, **special})
        torch.manual_seed(0)
        device = "cuda" if self.on_gpu else "cpu"
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0)
        return model.to(device).eval()

    def start(self) -> Any:
        """Build what training starts from."""
        from misstep.training.export import InitialModel

        model = self.model("float32")
        tokenizer = AutoTokenizer.from_pretrained(BASE)
        return InitialModel(BASE, model, tokenizer, model.config, model.generation_config)

    def tokens(self, count: int) -> list[int]:
        """Random token ids, none of them special."""
        vocabulary: int = self.config["vocab_size"]
        drawn = torch.randint(3, vocabulary, (count,), generator=torch.Generator().manual_seed(count))
        ids: list[int] = drawn.tolist()
        return ids

    def found(self, part: str, memory: Memory | None, **more: Any) -> dict[str, Any]:
        """Return what was measured, with this process's peak memory beside the plan's."""
        held = {"part": part, "device": self.device, "layers": self.architecture.layers, **more}
        return held if memory is None else held | {"peak_mib": peak(), "plan_mib": memory.mib}


def peak() -> float:
    """Return the most memory that was in use, in MiB: of the GPU with all that runs there, else of this process."""
    if not torch.cuda.is_available():
        return peak_mib()
    free, total = torch.cuda.mem_get_info()
    beside = total - free - torch.cuda.memory_reserved()
    return (beside + torch.cuda.max_memory_reserved()) / MIB
