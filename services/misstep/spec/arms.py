"""``spec.arms``: the methods to compare."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from misstep.credit.layout_names import Layout
from misstep.spec.fields import Count, Name, SpecModel
from misstep.spec.training import DpoTraining, RftTraining, SftTraining


class Arm(SpecModel):
    """One method to compare. Fields of `sft`, `rft` or `dpo` given here replace those of `spec.training`."""

    name: Name
    """Name in stages and in the report."""
    method: Literal["sft", "rft", "dpo"]
    """`sft`: teacher solutions; `rft`: own correct solutions; `dpo`: own wrong solutions, in pairs."""
    pairs: Layout | None = None
    """For `dpo`. `shared-prefix`: from the prefix before the pit, a correct rollout against the pit step.
    `whole-response`: a full correct solution against the wrong one through its pit. Controls for credit:
    `placebo-cut`: as `shared-prefix`, at a step drawn at random in place of the pit; `oracle-pit`: at the true first
    wrong step, for problems of a format that knows it (`strides`). `random` and `edit-distance`: whole solutions
    without credit, the baselines."""
    sizes: list[Count] | None = Field(default=None, max_length=32)
    """Sizes at which this arm runs; by default all."""
    sft: SftTraining | None = None
    rft: RftTraining | None = None
    dpo: DpoTraining | None = None

    @model_validator(mode="after")
    def _method_fits(self) -> Arm:
        if (self.pairs is not None) != (self.method == "dpo"):
            raise ValueError("pairs belongs to method dpo, and dpo needs it")
        for other in ("sft", "rft", "dpo"):
            if other != self.method and getattr(self, other) is not None:
                raise ValueError(f"settings {other} do not belong to method {self.method}")
        return self


DEFAULT_ARMS = [
    Arm(name="sft", method="sft"),
    Arm(name="rft", method="rft"),
    Arm(name="dpo-random", method="dpo", pairs="random"),
    Arm(name="dpo-step", method="dpo", pairs="shared-prefix"),
]
