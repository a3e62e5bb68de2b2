"""``spec.training``: the numbers that a researcher tunes."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import Field, model_validator

from misstep.spec.fields import Count, Number, Percent, SpecModel


class Selection(SpecModel):
    """Choice of the checkpoint by accuracy on validation problems: the loss keeps falling while a policy becomes
    over-trained, and credit from an over-trained policy carries no signal."""

    epochs: list[Count] = Field(default=[1, 2, 3], min_length=1, max_length=64)
    """Score after these epochs; the last one is scored in any case."""
    patience: Count | None = None
    """Stop after this many scorings in a row without improvement; by default training runs to the end."""
    problems: Count = 200
    """How many validation problems to score, one sample each."""


class Optimisation(SpecModel):
    """One training run (AdamW)."""

    learning_rate: Number
    epochs: Count
    batch_size: Count = 64
    """Rows (pairs for DPO) in one optimiser step, over all processes."""
    micro_batch_size: Count | None = None
    """Rows in one forward pass of one process; batchSize by default. Must divide batchSize."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Learning rate after the warm-up."""
    warmup_percent: Percent = 5
    """Share of the steps in which the learning rate rises."""
    weight_decay: Number = 0.0
    """AdamW's weight decay."""
    max_grad_norm: Number = 1.0
    """Gradients are clipped to this norm."""
    max_length: Count = 1024
    """Rows with more tokens are dropped and counted."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of weights and arithmetic."""
    lora_rank: Count | None = None
    """Train low-rank adapters of this rank and merge them at the end; by default all weights are trained."""

    @model_validator(mode="after")
    def _micro_batch_divides(self) -> Optimisation:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(f"microBatchSize, {self.micro_batch_size}, must divide batchSize, {self.batch_size}")
        return self


class PolicyChoice(SpecModel):
    """Which checkpoint of the SFT run is the policy: the model that is sampled, that is credited, and that DPO starts
    from.

    The most accurate checkpoint, which represents SFT in the report, has often memorised its training problems: it
    makes few mistakes on them, and these say little about new problems (arXiv 2406.14532, section 6). An earlier
    checkpoint of the same run teaches more. `docs/method.md` has the measurements behind the default."""

    max_gap_points: Percent = 10
    """Among the scored checkpoints whose accuracy on their own training problems exceeds their validation accuracy by
    at most this many percentage points, take the one with the best validation accuracy. 100 takes the best
    checkpoint."""
    epoch: Count | None = None
    """Take the checkpoint of this epoch, regardless of scores."""


class SftTraining(Optimisation):
    """Fine-tuning on correct teacher solutions."""

    learning_rate: Number = 1e-5
    """Peak learning rate, for example `1e-5`."""
    epochs: Count = 3
    """Passes over the training rows."""
    selection: Selection = Selection()
    policy: PolicyChoice = PolicyChoice()

    @model_validator(mode="after")
    def _policy_is_trained(self) -> SftTraining:
        if self.policy.epoch is not None and self.policy.epoch > self.epochs:
            raise ValueError(f"policy.epoch, {self.policy.epoch}, is above the number of trained epochs, {self.epochs}")
        return self


class RftTraining(Optimisation):
    """Fine-tuning of the base model on the policy's own correct solutions."""

    learning_rate: Number = 1e-5
    """Peak learning rate, for example `1e-5`."""
    epochs: Count = 3
    """Passes over the training rows."""
    selection: Selection = Selection()
    per_problem: Count = 4
    """The most distinct solutions of one problem that are used."""
    min_distance_percent: Percent = 0
    """Keep a solution only if its normalised edit distance to every kept one is above this."""
    with_teacher: bool = True
    """Train on the teacher's solutions too."""
    filter: Literal["none", "advantage"] = "none"
    """`advantage` leaves out correct solutions with a step that luck saved: after it no rollout of the policy
    succeeded, so to imitate it teaches a mistake. Needs `credit.positivesPerProblem`. Solutions that were not credited
    stay, and so do those with a step that another correct response passes through."""


class DpoTraining(Optimisation):
    """Direct preference optimisation from the SFT policy, which is also the reference."""

    learning_rate: Number = 1e-6
    """Peak learning rate, for example `1e-6`."""
    epochs: Count = 2
    """Passes over the training rows."""
    beta: Number = 0.1
    """Strength of the pull towards the reference."""
    nll_weight: Number = 0.0
    """Weight of an added negative log-likelihood of the chosen side; it keeps chosen solutions from losing
    probability (arXiv 2404.19733)."""
    selection: Selection | None = None
    """Choose the checkpoint by validation accuracy; by default the last step's weights are kept."""


class Training(SpecModel):
    """Settings of each method; an arm may override single fields."""

    sft: SftTraining = SftTraining()
    rft: RftTraining = RftTraining()
    dpo: DpoTraining = DpoTraining()


T = TypeVar("T", bound=SpecModel)


def over(base: T, own: T) -> T:
    """Override the common fields with an arm's own; nothing is validated again."""
    return base.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
