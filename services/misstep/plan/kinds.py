"""The kinds of stage: one table of everything that differs between kinds.

To add a kind, add a line here, its parameters (``params``), its place in the DAG (``planner``), the tables that it
writes (``artifacts/records``), and its field in ``spec.resources``; the tests name whatever is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Literal, get_args

from misstep.plan import params as p


class StageKind(StrEnum):
    """The kinds of stage, in the order of the method."""

    PROBLEMS = "problems"
    INSPECT = "inspect"
    SYNTHESIZE = "synthesize"
    CURATE = "curate"
    SFT = "sft"
    SAMPLE = "sample"
    VERIFY = "verify"
    RFT = "rft"
    CREDIT = "credit"
    PAIRS = "pairs"
    DPO = "dpo"
    SCORE = "score"
    REPORT = "report"


MODEL_MIB = 2048
"""The memory of a shard that loads a model, if `spec.resources` does not give it."""
ImageName = Literal["problems", "verification", "generation", "credit", "training", "evaluation"]

_DISTANCE = ("rapidfuzz.distance",)
_HTTP = ("httpx2", "tenacity")
_MODEL = (
    "torch",
    "safetensors.torch",
    "transformers.models.llama.modeling_llama",
    "misstep.generation.prompts",
    "misstep.generation.transformers_engine",
)
_INSPECTION = ("sentencepiece", "misstep.inspection.model", "misstep.inspection.weights", "misstep.inspection.writing")
_TRAINER = (
    "deepspeed",  # accelerate imports it for every training if it is installed, even for a single process
    "trl.trainer.sft_trainer",
    "trl.trainer.dpo_trainer",
    "misstep.training.data",
    "misstep.training.arguments",
    "misstep.training.trainers",
    "misstep.training.run",
)
_CREDIT = ("misstep.credit.block", "misstep.credit.scheduler")
_FIGURES = ("scipy.optimize", "scipy.stats", "matplotlib.style", "matplotlib.backends.backend_svg", "jinja2")

IMPORT_ORDER = (*_HTTP, *_DISTANCE, *_MODEL, *_INSPECTION, *_TRAINER, *_CREDIT, *_FIGURES)
"""The order in which one process imports the modules of several kinds: modules of light kinds come before torch."""


@dataclass(frozen=True)
class Kind:
    """The properties of one kind of stage."""

    params: type[p.Params]
    """The type of its parameters."""
    work: str
    """The function that opens its work, as ``module:function``. It is named, not imported, because each kind has its
    own heavy libraries."""
    image: ImageName
    """The container image that runs it in a cluster."""
    version: int = 1
    """The version of its results, part of every key of this kind. Increase it whenever a code change alters them."""
    imports: tuple[str, ...] = ()
    """Modules that a process of this kind needs in memory. Each process imports modules that are missing here again."""
    trains: bool = False
    """It trains a model: it may run as several ranks, over several nodes."""
    generates: bool = False
    """It samples from a model that runs here: it may use a GPU, and shards share its blocks."""
    shares_blocks: bool = False
    """Shards share its blocks, though it does not generate."""
    memory_mib: int = 1024
    """The memory of one shard, if `spec.resources` does not give it."""
    own_extra: str | None = None
    """The extra of the package that has its libraries (``extras``), where it is not named as the image."""

    @property
    def extra(self) -> str:
        """The extra of the package that has its libraries."""
        return self.own_extra or self.image


_training = partial(Kind, image="training", imports=_MODEL + _DISTANCE + _TRAINER, trains=True, memory_mib=MODEL_MIB)

KINDS: dict[StageKind, Kind] = {
    StageKind.PROBLEMS: Kind(p.ProblemsParams, "misstep.problems.stage:open_work", "problems", version=2),
    StageKind.INSPECT: Kind(
        p.InspectParams,
        "misstep.inspection.stage:open_work",
        "training",
        imports=_MODEL + _INSPECTION,
        memory_mib=MODEL_MIB,
    ),
    StageKind.SYNTHESIZE: Kind(
        p.SynthesizeParams,
        "misstep.synthesis.stage:open_work",
        "generation",
        version=2,
        imports=_HTTP,
        shares_blocks=True,
        own_extra="synthesis",
    ),
    StageKind.CURATE: Kind(
        p.CurateParams, "misstep.synthesis.curate:open_work", "problems", version=2, imports=_DISTANCE
    ),
    StageKind.SFT: _training(p.SftParams, "misstep.training.sft_stage:open_work", version=2),
    StageKind.SAMPLE: Kind(
        p.SampleParams,
        "misstep.generation.sample:open_work",
        "generation",
        version=2,
        imports=_MODEL,
        generates=True,
        memory_mib=MODEL_MIB,
    ),
    StageKind.VERIFY: Kind(
        p.VerifyParams, "misstep.verification.stage:open_work", "verification", version=2, shares_blocks=True
    ),
    StageKind.RFT: _training(p.RftParams, "misstep.training.sft_stage:open_work", version=2),
    StageKind.CREDIT: Kind(
        p.CreditParams,
        "misstep.credit.stage:open_work",
        "credit",
        version=3,
        imports=_MODEL + _CREDIT,
        generates=True,
        memory_mib=MODEL_MIB,
    ),
    StageKind.PAIRS: Kind(p.PairsParams, "misstep.credit.pairs_stage:open_work", "credit", imports=_DISTANCE),
    StageKind.DPO: _training(p.DpoParams, "misstep.training.dpo_stage:open_work", version=2),
    StageKind.SCORE: Kind(p.ScoreParams, "misstep.evaluation.score_stage:open_work", "evaluation"),
    StageKind.REPORT: Kind(
        p.ReportParams, "misstep.evaluation.report_stage:open_work", "evaluation", version=3, imports=_FIGURES
    ),
}

IMAGES: tuple[ImageName, ...] = get_args(ImageName)
"""The images of stages."""
TRAINING: frozenset[StageKind] = frozenset(kind for kind, of in KINDS.items() if of.trains)
"""The kinds that train a model."""
