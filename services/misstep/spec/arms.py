"""``spec.arms``: the methods to compare."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, model_validator

from misstep.spec.credit import Pairs
from misstep.spec.fields import Count, Name, SpecModel
from misstep.spec.training import DpoTraining, RftTraining, SftTraining
from misstep.terms.layouts import FIXED_CHOICE, WEIGHED, Layout
from misstep.terms.methods import METHODS, Method

ONLY_DPO_HAS_PAIRING = "pairing belongs to method dpo: other methods have no pairs; remove it"
FIXED_CHOSEN = f"pairing.chosen: pairs {', '.join(FIXED_CHOICE)} say themselves which side is chosen; remove it"
NOTHING_TO_WEIGH = f"pairing.weight: advantage belongs to pairs of a pit ({', '.join(WEIGHED)}); remove it"
SFT_HAS_NO_FROM = "from belongs to methods rft and dpo: sft starts from the base model and samples nothing; remove it"


class Arm(SpecModel):
    """One method to compare. Fields of `sft`, `rft` or `dpo` given here replace those of `spec.training`, fields of
    `pairing` those of `spec.pairs`."""

    name: Name
    """Name in stages and in the report."""
    method: Method
    """`sft`: teacher solutions; `rft`: own correct solutions; `dpo`: own wrong solutions, in pairs."""
    pairs: Layout | None = None
    """For `dpo`. `shared-prefix`: from the prefix before the pit, a correct rollout against the pit step.
    `whole-response`: a full correct solution against the wrong one through its pit. Controls for credit: `placebo-cut`:
    as `shared-prefix`, at a step drawn at random in place of the pit; `oracle-pit`: at the true first wrong step, for
    problems of a format that knows it (`strides`, `long-strides`). `lucky-step`: from a correct solution, a correct
    rollout against a step that luck saved (after it no rollout succeeded); needs `credit.positivesPerProblem`. `random`
    and `edit-distance`: whole solutions without credit, the baselines. `teacher`: the teacher's solution against an own
    wrong one, as is common practice; off-policy, so that the pair also teaches what the policy would never write."""
    pairing: Pairs | None = None
    """For `dpo`: fields of `spec.pairs` for this arm alone, for example `{chosen: shortest, perNegative: 2}`."""
    from_arm: Name | None = Field(default=None, alias="from")
    """Another arm, of method `dpo` or `rft`. Its model at the same size and seed is the policy of this arm, instead of
    the SFT policy. That model is sampled and credited. `dpo` also starts from it and uses it as reference; `rft` trains
    the base model, as always, on that model's correct solutions. Arms that follow one another are rounds. The name of
    the arm of method `sft` means the SFT policy, as without this field."""
    sizes: list[Count] | None = Field(default=None, max_length=32)
    """Sizes at which this arm runs; by default all."""
    sft: SftTraining | None = None
    rft: RftTraining | None = None
    dpo: DpoTraining | None = None

    @model_validator(mode="after")
    def _method_fits(self) -> Arm:
        if (self.pairs is not None) != (self.method == "dpo"):
            raise ValueError("pairs belongs to method dpo, and dpo needs it")
        if self.pairing is not None:
            self._pairing_fits(self.pairing)
        if self.from_arm is not None and self.method == "sft":
            raise ValueError(SFT_HAS_NO_FROM)
        for other in METHODS:
            if other != self.method and getattr(self, other) is not None:
                raise ValueError(f"settings {other} do not belong to method {self.method}")
        return self

    def _pairing_fits(self, pairing: Pairs) -> None:
        if self.method != "dpo":
            raise ValueError(ONLY_DPO_HAS_PAIRING)
        if self.pairs in FIXED_CHOICE and "chosen" in pairing.model_fields_set:
            raise ValueError(FIXED_CHOSEN)
        if self.pairs not in WEIGHED and pairing.weight == "advantage":
            raise ValueError(NOTHING_TO_WEIGH)


def check_starts(arms: Sequence[Arm]) -> None:
    """Check that every chain of ``from`` ends at the SFT policy. Names of arms must be different.

    Raises:
        ValueError: an arm starts from an arm that does not exist, or from itself, directly or through others.
    """
    by_name = {arm.name: arm for arm in arms}
    for arm in arms:
        if arm.from_arm is not None and arm.from_arm not in by_name:
            raise ValueError(
                f"arm {arm.name} has from: {arm.from_arm}, which is not an arm of this experiment; the others are "
                f"{', '.join(name for name in by_name if name != arm.name)}"
            )
    for arm in arms:
        path = [arm.name]
        while (before := by_name[path[-1]].from_arm) is not None:
            path.append(before)
            if before in path[:-1]:
                cycle = path[path.index(before) :]
                raise ValueError(
                    f"arms start from one another in a circle: {' from '.join(cycle)}; remove from of one of them"
                )


DEFAULT_ARMS = [
    Arm(name="sft", method="sft"),
    Arm(name="rft", method="rft"),
    Arm(name="dpo-random", method="dpo", pairs="random"),
    Arm(name="dpo-step", method="dpo", pairs="shared-prefix"),
]
