"""Which modules a stage kind needs in memory before a process for it is forked."""

from __future__ import annotations

from collections.abc import Iterable

from misstep.plan.frozen import StageKind
from misstep.stages.registry import REGISTRY

_SHELL = (
    "misstep.stages.main",
    "structlog",
    "pyarrow.parquet",
    "misstep.stages.shell",
    "misstep.stages.runtime",
    "misstep.artifacts.writer",
)
_S3 = ("boto3", "misstep.artifacts.s3")
_VERIFIER = ("math_verify",)
_MODEL = ("torch", "safetensors.torch", "transformers.models.llama.modeling_llama")
_TRAINER = ("trl.trainer.sft_trainer", "trl.trainer.dpo_trainer")
_FIGURES = ("scipy.optimize", "scipy.stats", "matplotlib.figure", "matplotlib.backends.backend_svg", "jinja2")

_LIBRARIES: dict[StageKind, tuple[str, ...]] = {
    StageKind.PROBLEMS: _VERIFIER,
    StageKind.SFT: _VERIFIER + _MODEL + _TRAINER,
    StageKind.SAMPLE: _MODEL,
    StageKind.VERIFY: _VERIFIER,
    StageKind.RFT: _VERIFIER + _MODEL + _TRAINER,
    StageKind.CREDIT: _VERIFIER + _MODEL,
    StageKind.PAIRS: (),
    StageKind.DPO: _VERIFIER + _MODEL + _TRAINER,
    StageKind.SCORE: (),
    StageKind.REPORT: _FIGURES,
}
_ORDER = (*_SHELL, *_S3, *_VERIFIER, *_MODEL, *_TRAINER, *_FIGURES)


def modules_of(kind: StageKind, *, s3: bool = False) -> tuple[str, ...]:
    """Return what one kind imports: the shell, its libraries, and the code that does its work."""
    work, _, _ = REGISTRY[kind].partition(":")
    return (*_SHELL, *(_S3 if s3 else ()), *_LIBRARIES[kind], work)


def in_order(kinds: Iterable[StageKind], *, s3: bool = False) -> list[str]:
    """Return every module that these kinds need, once. What the light kinds need comes before torch, so that a
    plan's first stage (problems) runs while the rest is still being imported."""
    kinds = sorted(set(kinds), key=lambda kind: max((_ORDER.index(m) for m in _LIBRARIES[kind]), default=0))
    return list(dict.fromkeys(module for kind in kinds for module in modules_of(kind, s3=s3)))
