"""``results.json``: every figure with its interval, or the reason why there is none.

Imports neither numpy nor pyarrow, so that the command line can print a result table at once.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from misstep.evaluation.estimates import CellWorth, Estimate, Fit
from misstep.terms.methods import Method

DECIMALS = 6
"""Of every figure in the files."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Training(_Record):
    """The outcome of one training run."""

    trained: bool
    reason: str | None = None
    """Why nothing was trained: the model is then its starting point."""
    rows: int | None = None
    """Training rows: solutions, or pairs for DPO."""
    rows_dropped: int = 0
    """Solutions or pairs that were too long or incomplete, in addition to those rows."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Reason -> rows that were dropped, and samples that never became one."""
    steps: int = 0
    """Optimiser steps of the whole run."""
    kept_steps: int = 0
    """Optimiser steps of the model: up to the kept checkpoint."""
    epochs: float | None = None
    """Epochs trained, even if an earlier checkpoint was kept."""
    scored_epochs: tuple[int, ...] = ()
    best_epoch: int | None = None
    validation: Estimate | None = None
    """Sampled accuracy of the chosen checkpoint on validation problems."""
    policy_epoch: int | None = None
    """For SFT: the epoch of the checkpoint that is the policy."""
    policy_validation: Estimate | None = None
    """Sampled accuracy of the policy on validation problems, ..."""
    policy_train: Estimate | None = None
    """... and on its own training problems."""
    first_loss: float | None = None
    last_loss: float | None = None


class Answers(_Record):
    """Counts of sampled answers by verdict."""

    samples: int
    correct: int
    wrong: int
    unparsable: int
    timeout: int
    cut_off: int
    """Samples that were cut off at the token limit."""


class PairYield(_Record):
    """Preference pairs of one arm, and the reasons for missing ones."""

    pairs: int
    candidates: int
    """Wrong solutions that could have given a pair."""
    problems: int
    """Problems that have a pair."""
    sources: dict[str, int]
    """Source of the chosen side -> pairs."""
    dropped: dict[str, int]
    """Reason -> candidates that gave no pair."""
    cut_at_pit: int | None = None
    """For ``placebo-cut``: pairs whose random cut is at the pit that credit found."""
    no_other_cut: int | None = None
    """Those among them with no other possible cut."""
    agreement: dict[str, int] = Field(default_factory=dict)
    """For ``oracle-pit``: position of credit's pit relative to the true first wrong step -> credited wrong solutions.
    ``pit_is_oracle``, ``pit_before_oracle``, ``pit_after_oracle``, ``no_pit``, ``no_true_error``."""


class Audit(_Record):
    """Credit's pits beside those of full scans with fresh rollouts, over the audited wrong solutions."""

    negatives: int
    agreement: Estimate
    """The share whose pit is that of a full scan."""
    scans_agreement: Estimate
    """The share whose pits are the same in two full scans."""
    cost: float | None
    """Credit's generated tokens as a share of what a full scan of all its negatives would cost; None if nothing was
    rolled out."""


class TrueErrors(_Record):
    """Credit's steps beside the true first errors, which the task knows."""

    wrong: int
    """Wrong solutions of which the true first error is known."""
    places: dict[str, int]
    """``exact``, ``before``, ``after``, ``no_pit``: position of the pit relative to the true first error."""
    wrong_accuracy: Estimate
    """The share of wrong solutions whose pit is the true first error."""
    right: int
    """Correct solutions that were credited."""
    right_accuracy: Estimate | None
    """The share of correct solutions of which credit blames no step; None if none were credited."""
    f1: float | None
    """Harmonic mean of both (ProcessBench, arXiv 2412.06559)."""


class Credit(_Record):
    """Cost and results of credit, for the policy of one size and seed."""

    size: int
    seed: int
    from_arm: str | None = None
    """The arm whose model the policy is; None for SFT's policy."""
    negatives: int
    pits: int
    outcome: str
    """The outcome, in the credit stage's words."""
    estimator: str
    no_pit: dict[str, int]
    """Reason -> negatives without a pit."""
    not_chosen: dict[str, int]
    """Reason -> wrong samples that were not credited."""
    pit_steps: dict[int, int]
    """Step (from 1) -> pits there."""
    pit_tenths: dict[int, int]
    """Tenth of the response's steps (from 1), pits in it."""
    prefixes: int
    """Distinct prefixes that rollouts were drawn from."""
    prefixes_unshared: int
    """The same number without sharing between negatives."""
    rollouts: int
    rollout_verdicts: dict[str, int]
    generated_tokens: int
    prefill_tokens: int = 0
    """Prompt tokens of all rollouts, counted once per rollout; 0 if the stage did not report them."""
    cached_prefill_tokens: int = 0
    """Those among them that were cached by the engine."""
    rollouts_unneeded: int = 0
    """Rollouts that were drawn in advance and not needed."""
    expected_false: float | None = None
    """The share of pits that the estimator's own posterior expects to be another step; None without a posterior."""
    audit: Audit | None = None
    true_errors: TrueErrors | None = None
    positives: int = 0
    """Correct solutions that were credited."""
    lucky: int = 0
    """Those among them with a step that luck saved."""


class PolicyScores(_Record):
    """What the SFT run measured of the policy, one answer to each problem at the temperature of evaluation."""

    epoch: int
    validation_problems: int
    validation_correct: int
    train_problems: int
    train_correct: int


class Sampled(_Record):
    """What the policy of one size and seed answered to its own training problems."""

    size: int
    seed: int
    from_arm: str | None = None
    """The arm whose model the policy is; None for SFT's policy."""
    answers: Answers
    scores: PolicyScores | None = None
    """For the SFT policy, if checkpoints were scored."""


class PromptRecord(_Record):
    """The prompt: the preset's name or ``custom``, and the first hex digits of the text's sha256."""

    name: str
    sha256: str


class Teacher(_Record):
    """What a language model wrote for an experiment, and what it cost."""

    seeds: int
    drafts: int
    """Problems that it was asked to write, or to solve."""
    kept: int
    repaired: int
    """Problems that it changed in its check."""
    rejected: dict[str, int]
    """Reason -> drafts."""
    requests: dict[str, int]
    """``asked``, ``reused`` from an earlier run, ``failed``."""
    prompt_tokens: int
    generated_tokens: int
    cost_millionths: int
    """In millionths of the currency of the prices; 0 if no prices were given."""


class Problems(_Record):
    """What the problems stage kept and left out, by split."""

    counts: dict[str, int]
    rows: dict[str, int] = Field(default_factory=dict)
    """Rows read. Held-out validation problems were read as training rows."""
    no_question: dict[str, int] = Field(default_factory=dict)
    duplicates: dict[str, int] = Field(default_factory=dict)
    duplicates_with_another_answer: dict[str, int] = Field(default_factory=dict)
    bad_gold: dict[str, int] = Field(default_factory=dict)
    """Problems dropped because they have no final answer that responses can be checked against."""
    bad_gold_reasons: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Split -> why, in words -> problems."""
    bad_gold_examples: tuple[str, ...] = ()
    remarks: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Split -> what reading left out or found odd, in words -> rows."""
    without_solution: int = 0
    """Training problems that come without a teacher's solution."""
    test_problems_in_training: int = 0
    left_out_of_training: int = 0
    teacher_solutions: dict[str, int] = Field(default_factory=dict)
    teacher: Teacher | None = None
    """None if the solutions are the data set's own."""


class Point(_Record):
    """One trained model: an arm at one size with one seed."""

    arm: str
    method: Method
    layout: str | None
    size: int
    seed: int
    from_arm: str | None = None
    """The arm from whose model it started, if that is not the SFT policy."""
    problems: int
    answers: Answers
    pass_at: dict[int, Estimate]
    maj_at: dict[int, Estimate]
    notes: tuple[str, ...] = ()
    training: Training
    pairs: PairYield | None = None


class Cell(_Record):
    """One arm at one size, over its seeds."""

    arm: str
    method: Method
    layout: str | None
    size: int
    seeds: tuple[int, ...]
    from_arm: str | None = None
    pass_at: dict[int, Estimate]
    maj_at: dict[int, Estimate]
    answers: Answers
    worth: CellWorth

    @property
    def accuracy(self) -> Estimate:
        """pass@1, the main figure."""
        return self.pass_at[1]


class Comparison(_Record):
    """A credited arm compared with one of the same size whose pairs use no credit."""

    arm: str
    against: str
    size: int
    difference: Estimate
    """Accuracy of ``arm`` minus that of ``against``."""
    by_seed: dict[int, float] = Field(default_factory=dict)
    """Seed -> that difference, for the seeds that both have."""

    @property
    def on_every_seed(self) -> bool:
        """Whether there are several common seeds, and the difference has the same sign on each of them."""
        return len(self.by_seed) > 1 and all(d * self.difference.value > 0.0 for d in self.by_seed.values())


class Results(_Record):
    """All of ``results.json``."""

    schema_version: Literal["misstep.dev/results/v1"] = "misstep.dev/results/v1"
    title: str
    test_problems: int
    seeds: tuple[int, ...]
    sizes: tuple[int, ...]
    bootstrap: int
    yardstick: str | None
    """The arm that factors are relative to."""
    fit: Fit | None
    no_fit: str | None
    """Why there is no SFT curve to read factors from."""
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]
    median_factors: dict[str, float]
    """Arm -> median of its interpolated factors, for arms with a number at each of several sizes."""
    points: tuple[Point, ...]
    sampled: tuple[Sampled, ...]
    credit: tuple[Credit, ...]
    problems: Problems
    prompt: PromptRecord | None = None
    """None if the samples were made before this was recorded."""
    headline: str = ""
    """One sentence for newcomers: the source of learning, its worth, the certainty, and the effect of credit."""
    conclusion: str
    notes: tuple[str, ...]
    """The limits of this experiment."""

    def to_json(self) -> str:
        """Return the file's text: sorted keys, six decimals, a final newline."""
        data = _rounded(self.model_dump(mode="json"))
        return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_results(text: str) -> Results:
    """Parse ``results.json``. Raises pydantic's ValidationError."""
    return Results.model_validate_json(text)


def _rounded(data: Any) -> Any:
    if isinstance(data, float):
        return round(data, DECIMALS)
    if isinstance(data, dict):
        return {name: _rounded(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_rounded(value) for value in data]
    return data
