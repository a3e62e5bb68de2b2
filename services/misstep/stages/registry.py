"""The code of each kind of stage, by name and not imported, because each loads its own heavy libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from misstep.plan.frozen import StageKind
from misstep.stages.context import StageContext, Work

REGISTRY: Mapping[StageKind, str] = {
    StageKind.PROBLEMS: "misstep.problems.stage:open_work",
    StageKind.INSPECT: "misstep.inspection.stage:open_work",
    StageKind.SYNTHESIZE: "misstep.synthesis.stage:open_work",
    StageKind.CURATE: "misstep.synthesis.curate:open_work",
    StageKind.SFT: "misstep.training.sft_stage:open_work",
    StageKind.SAMPLE: "misstep.generation.sample:open_work",
    StageKind.VERIFY: "misstep.verification.stage:open_work",
    StageKind.RFT: "misstep.training.sft_stage:open_work",
    StageKind.CREDIT: "misstep.credit.stage:open_work",
    StageKind.PAIRS: "misstep.credit.pairs_stage:open_work",
    StageKind.DPO: "misstep.training.dpo_stage:open_work",
    StageKind.SCORE: "misstep.evaluation.score_stage:open_work",
    StageKind.REPORT: "misstep.evaluation.report_stage:open_work",
}


def find_work(kind: StageKind, registry: Mapping[StageKind, str] = REGISTRY) -> Callable[[StageContext], Work]:
    """Import and return the function that opens the work of a kind."""
    module, _, function = registry[kind].partition(":")
    found: Callable[[StageContext], Work] = getattr(import_module(module), function)
    return found
