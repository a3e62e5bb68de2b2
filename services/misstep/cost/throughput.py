"""How fast models generate, read and train: one table of conservative rates with their sources. Pure.

Rates are written in parameter-tokens per second (parameters times tokens per second of one GPU or processor core),
because both the arithmetic of training and the weights read per decoded token are proportional to the parameters. Small
models are limited by overhead instead: ``most`` caps their tokens per second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from misstep.cost.amounts import Work
from misstep.spec.assumptions import Assumptions, TokensPerSecond

What = Literal["generate", "read", "train"]
_FORWARD_SHARE = 4
"""The cost of training on a token, in forward passes: one forward, two for backward, one for recomputed activations."""


@dataclass(frozen=True)
class Rate:
    """One line of the table."""

    device: str
    """``h100``, ``a100``, or ``core`` of a processor."""
    engine: str
    what: What
    parameter_tokens: float
    most: float
    """Tokens per second, at most."""
    source: str

    def tokens_per_second(self, parameters: int) -> float:
        """Return the tokens per second of one GPU or core for a model with this many parameters."""
        return min(self.parameter_tokens / parameters, self.most)


_MFU = "30% of the data sheet's bf16 peak, 8 FLOP a parameter and token (recomputed activations); well run large "
_MFU += "trainings report 46% (PaLM, arXiv 2204.02311) to 52% (Megatron-LM, arXiv 2104.04473)"
_READ = "40% of the data sheet's bf16 peak, 2 FLOP a parameter and token; not measured"
_VINE = 'half of VinePPO\'s "up to 40K tokens/s" with vLLM for 7B on 8 H100 (arXiv 2410.01679)'
_BANDWIDTH = "the H100's, by memory bandwidth (2.0 against 3.35 TB/s, data sheets)"
_PLAIN = "a quarter of vLLM's: a guess, not measured"
_HERE = "measured here in processor time of one core, 2026-11-25: SmolLM2-135M, the cap with the quickstart's model"
_LIKE_TRAINING = "a forward pass of the measured training, rounded down"

RATES: tuple[Rate, ...] = (
    Rate("h100", "vllm", "generate", 1.75e13, 20_000, _VINE),
    Rate("h100", "vllm", "read", 0.4 * 989e12 / 2, 100_000, _READ),
    Rate("h100", "transformers", "generate", 4.4e12, 5_000, _PLAIN),
    Rate("h100", "transformers", "read", 0.4 * 989e12 / 2, 50_000, _READ),
    Rate("h100", "trl", "train", 0.3 * 989e12 / 8, 50_000, _MFU),
    Rate("a100", "vllm", "generate", 1.0e13, 12_000, _BANDWIDTH),
    Rate("a100", "vllm", "read", 0.4 * 312e12 / 2, 50_000, _READ),
    Rate("a100", "transformers", "generate", 2.6e12, 3_000, _PLAIN),
    Rate("a100", "transformers", "read", 0.4 * 312e12 / 2, 25_000, _READ),
    Rate("a100", "trl", "train", 0.3 * 312e12 / 8, 20_000, _MFU),
    Rate("core", "transformers", "generate", 9e9, 15_000, _HERE),
    Rate("core", "transformers", "read", 1e10, 20_000, _LIKE_TRAINING),
    Rate("core", "trl", "train", 4e9, 15_000, _HERE),
    Rate("core", "vllm", "generate", 9e9, 15_000, "the transformers engine's: not measured"),
    Rate("core", "vllm", "read", 1e10, 20_000, "the transformers engine's: not measured"),
)


def rate_of(device: str, engine: str, what: What) -> Rate:
    """Return a line of the table. Raises KeyError if there is none."""
    for rate in RATES:
        if (rate.device, rate.engine, rate.what) == (device, engine, what):
            return rate
    raise KeyError((device, engine, what))


def device_hours(work: Work, parameters: int, engine: str, on_gpu: bool, assumptions: Assumptions) -> float:
    """Return the hours of GPUs, or of processor cores, that a stage's expected work takes.

    Args:
        engine: the engine that generates; validation answers inside training always come from ``transformers``.
    """
    device = assumptions.gpu if on_gpu else "core"
    given: TokensPerSecond = assumptions.tokens_per_second

    def rate(engine: str, what: What) -> float:
        own: int | None = getattr(given, what)
        return float(own) if own else rate_of(device, engine, what).tokens_per_second(parameters)

    seconds = work.generated / rate(engine, "generate") + work.read / rate(engine, "read")
    train = rate("trl", "train")
    seconds += work.trained / train + work.scored / (_FORWARD_SHARE * train)
    return seconds / 3600
