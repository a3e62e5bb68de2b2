"""Which modules a stage kind needs in memory before a process for it is forked.

What is missing here costs each process of that kind its import again; what is not installed is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable

from misstep.plan.frozen import StageKind
from misstep.stages.registry import REGISTRY

_SHELL = (
    "misstep.stages.main",
    "structlog",
    "pyarrow.parquet",
    "pyarrow.compute",
    "pandas",  # pyarrow looks for it when it converts Python values
    "misstep.stages.logs",
    "misstep.stages.shell",
    "misstep.stages.runtime",
    "misstep.artifacts.local",
    "misstep.artifacts.writer",
    "misstep.verification.verifier",
)
_S3 = ("botocore.session", "misstep.artifacts.s3")
_DISTANCE = ("rapidfuzz.distance",)
_MODEL = (
    "torch",
    "safetensors.torch",
    "transformers.models.llama.modeling_llama",
    "misstep.generation.prompts",
    "misstep.generation.transformers_engine",
)
_INSPECTION = ("sentencepiece", "misstep.inspection.model", "misstep.inspection.weights", "misstep.inspection.writing")
_HTTP = ("httpx2", "tenacity")
_CREDIT = ("misstep.credit.block", "misstep.credit.scheduler")
_TRAINER = (
    "deepspeed",  # accelerate imports it for every training once it is installed, also where one process trains
    "trl.trainer.sft_trainer",
    "trl.trainer.dpo_trainer",
    "misstep.training.data",
    "misstep.training.arguments",
    "misstep.training.trainers",
    "misstep.training.run",
)
_FIGURES = ("scipy.optimize", "scipy.stats", "matplotlib.style", "matplotlib.backends.backend_svg", "jinja2")

_LIBRARIES: dict[StageKind, tuple[str, ...]] = {
    StageKind.PROBLEMS: (),
    StageKind.INSPECT: _MODEL + _INSPECTION,
    StageKind.SYNTHESIZE: _HTTP,
    StageKind.CURATE: _DISTANCE,
    StageKind.SFT: _MODEL + _DISTANCE + _TRAINER,
    StageKind.SAMPLE: _MODEL,
    StageKind.VERIFY: (),
    StageKind.RFT: _MODEL + _DISTANCE + _TRAINER,
    StageKind.CREDIT: _MODEL + _CREDIT,
    StageKind.PAIRS: _DISTANCE,
    StageKind.DPO: _MODEL + _DISTANCE + _TRAINER,
    StageKind.SCORE: (),
    StageKind.REPORT: _FIGURES,
}
_ORDER = (*_SHELL, *_S3, *_HTTP, *_DISTANCE, *_MODEL, *_INSPECTION, *_TRAINER, *_CREDIT, *_FIGURES)


def modules_of_parent(*, s3: bool = False) -> tuple[str, ...]:
    """Return what a stage's process imports where its work is done by ranks that it starts."""
    return (*_SHELL, *(_S3 if s3 else ()), "misstep.stages.together")


def modules_of(kind: StageKind, *, s3: bool = False) -> tuple[str, ...]:
    """Return what one kind imports: the shell, its libraries, and the code that does its work."""
    work, _, _ = REGISTRY[kind].partition(":")
    return (*_SHELL, *(_S3 if s3 else ()), *_LIBRARIES[kind], work)


def in_order(kinds: Iterable[StageKind], *, s3: bool = False) -> list[str]:
    """Return every module that these kinds need, once. What the light kinds need comes before torch, so that a
    plan's first stage (problems) runs while the rest is still being imported."""
    ordered = sorted(set(kinds), key=lambda kind: (max((_ORDER.index(m) for m in _LIBRARIES[kind]), default=0), kind))
    return list(dict.fromkeys(module for kind in ordered for module in modules_of(kind, s3=s3)))
