"""Detect a policy that has memorised its own training problems: one rule and one wording for all warnings. Pure.

Such a policy makes few mistakes on its training problems, and these say little about new problems: the study warns of
credit from an over-trained policy (arXiv 2406.14532, section 6).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind

MOST_GAP = 0.15
"""A larger difference of the two accuracies gives a warning, ..."""
SURE_GAP = 0.10
"""... if it is also above this after subtracting two standard errors, so that few problems give no false alarm."""
_MOST_PROBLEMS = 1 << 53

_MEANING = (
    "It knows its training problems by heart: it makes few mistakes there, and they say little about new problems."
)
_REMEDY = (
    "Lower spec.training.sft.policy.maxGapPoints, score earlier epochs (spec.training.sft.selection.epochs), name one "
    "of them (spec.training.sft.policy.epoch), train for fewer epochs, or take more problems."
)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of correct answers, and the number of problems behind it. Several answers to one problem count as one,
    since they are correlated."""

    share: float
    problems: int


@dataclass(frozen=True, slots=True)
class Known:
    """How well a policy solves its own training problems, and problems that it was not trained on."""

    own: Accuracy
    others: Accuracy

    @property
    def by_heart(self) -> bool:
        """Whether the first accuracy is so far above the second that mistakes on training problems say little."""
        if not (self.own.problems and self.others.problems):
            return False
        own, others = _shrunk(self.own), _shrunk(self.others)
        error = math.sqrt(sum(share * (1 - share) / answers for share, answers in (own, others)))
        return self.own.share - self.others.share > MOST_GAP and own[0] - others[0] - 2 * error > SURE_GAP

    @property
    def short(self) -> str:
        """For a line of progress: ``over-trained: 87% of own problems, 30% of others``."""
        return f"over-trained: {self.own.share:.0%} of own problems, {self.others.share:.0%} of others"


def measured(summary: Mapping[str, Any]) -> Known | None:
    """Read the accuracies that an SFT run measured for its policy; None if it scored no checkpoint."""
    policy = summary.get("policy")
    if not isinstance(policy, Mapping):
        return None
    own, others = (_accuracy(policy, split) for split in ("train", "validation"))
    return Known(own, others) if own is not None and others is not None else None


def policy_name(size: int, seed: int, arm: str | None = None) -> str:
    """Return a description of a policy for use in a sentence. ``arm``: the arm of the model, if it is not the SFT
    policy."""
    problems = f"{size:,} problem" if size == 1 else f"{size:,} problems"
    return f"the policy {'' if arm is None else f'{arm} '}of {problems} (seed {seed})"


def warning(who: str, known: Known) -> str:
    """Return the warning for an SFT run's measurements, with what to do."""
    return (
        f"{who[:1].upper()}{who[1:]} solves {known.own.share:.0%} of its own training problems and "
        f"{known.others.share:.0%} of validation problems. {_MEANING} {_REMEDY}"
    )


def warning_of_samples(who: str, known: Known, trained_by: str) -> str:
    """Return the warning if no run measured it: from samples on training problems and accuracy on test problems.

    Args:
        trained_by: the field with the settings of the policy's training.
    """
    return (
        f"{who[:1].upper()}{who[1:]} is right in {known.own.share:.0%} of its samples on its own training problems "
        f"(spec.sampling) and {known.others.share:.0%} of its answers to test problems (spec.evaluation). {_MEANING} "
        f"Train it for fewer epochs or score earlier ones ({trained_by}), or take more problems."
    )


def policies(stages: Iterable[FrozenStage]) -> frozenset[str]:
    """Return the keys of the SFT runs that some stage of a plan takes its policy from."""
    stages = tuple(stages)
    used = {stage.inputs["policy"] for stage in stages if "policy" in stage.inputs}
    return frozenset(stage.key for stage in stages if stage.kind is StageKind.SFT and stage.key in used)


def stage_warning(stage: FrozenStage, known: Known | None) -> str:
    """Return the warning about the policy of a finished SFT run with these measurements; empty if there is none."""
    if known is None or not known.by_heart:
        return ""
    subset = stage.params["subset"]
    return warning(policy_name(subset["size"], subset["seed"]), known)


def _accuracy(policy: Mapping[str, Any], split: str) -> Accuracy | None:
    problems, correct = policy.get(f"{split}_problems"), policy.get(f"{split}_correct")
    if not (type(problems) is type(correct) is int and 0 <= correct <= problems and 0 < problems <= _MOST_PROBLEMS):
        return None
    return Accuracy(correct / problems, problems)


def _shrunk(accuracy: Accuracy) -> tuple[float, int]:
    """Return share and count after adding one right and one wrong answer (Agresti and Caffo 2000), since a share of 0
    or 1 from few problems is not certain."""
    answers = accuracy.problems + 2
    return (accuracy.share * accuracy.problems + 1) / answers, answers
