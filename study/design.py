"""The Experiments of the study, each of which varies one thing. `make docs` writes them to `study/experiments/`.

All share one base, so that whatever two of them have in common (fine-tuning, samples, credit) is computed once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

Arm = dict[str, Any]
N = TypeVar("N", int, float)
Spec = dict[str, Any]

LAYOUTS = ("random", "teacher", "placebo-cut", "whole-response", "shared-prefix", "oracle-pit")
PAIRS = 200
"""Pairs of every arm whose number is not what is varied."""
BETA, RATE, EPOCH, ROLLOUTS = 0.3, 3e-4, 4, 5
"""What an Experiment has unless it varies it: DPO's beta and learning rate, the epoch of fine-tuning whose checkpoint
is the policy, and rollouts of a prefix."""
SCORED = (4, 8, 16, 32)
"""The epochs of fine-tuning whose checkpoints are scored."""
DRAWN = (25, 50, 100, 200, 400)
"""Numbers of pairs for which `study/gradients.py` says how well they point."""


@dataclass(frozen=True)
class Task:
    """A generated task: its format, base model, and the tokens that a response may have.

    Args:
        prefix: before the names of its Experiments.
        counts: of pairs.
        betas, rates, epochs, rollouts: what is tried beside the usual setting.
    """

    format: str
    model: str
    max_new_tokens: int
    prefix: str
    counts: tuple[int, ...]
    betas: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    epochs: tuple[int, ...] = ()
    rollouts: tuple[int, ...] = ()

    @property
    def usual(self) -> str:
        """The Experiment in which nothing is varied."""
        return f"{self.prefix}pairs-{PAIRS}"

    @property
    def by_count(self) -> dict[int, str]:
        """The Experiments by numbers of pairs."""
        return {count: f"{self.prefix}pairs-{count}" for count in self.counts}

    @property
    def by_beta(self) -> dict[float, str]:
        """The Experiments by beta, in rising order."""
        return self._with_usual(BETA, {beta: f"beta-{_in_a_name(beta)}" for beta in self.betas})

    @property
    def by_rate(self) -> dict[float, str]:
        """The Experiments by learning rate, in rising order."""
        return self._with_usual(RATE, {rate: f"rate-{_in_a_name(rate)}" for rate in self.rates})

    @property
    def by_epoch(self) -> dict[int, str]:
        """The Experiments by epochs of the policy, in rising order."""
        return self._with_usual(EPOCH, {epoch: f"epoch-{epoch}" for epoch in self.epochs})

    @property
    def by_rollouts(self) -> dict[int, str]:
        """The Experiments by rollouts of a prefix, in rising order."""
        return self._with_usual(ROLLOUTS, {number: f"rollouts-{number}" for number in self.rollouts})

    def _with_usual(self, value: N, names: Mapping[N, str]) -> dict[N, str]:
        return dict(sorted({value: self.usual, **{at: self.prefix + name for at, name in names.items()}}.items()))


SHORT = Task(
    "strides",
    "../../examples/quickstart-base",
    48,
    "",
    counts=(50, PAIRS, 400),
    betas=(0.1, 1.0),
    rates=(1e-4, 1e-3),
    epochs=(16, 32),
    rollouts=(1, 20),
)
LONG = Task("long-strides", "../long-strides-base", 72, "long-", counts=(50, PAIRS), betas=(0.1,), rollouts=(1, 20))
"""The second task confirms what matters most."""


@dataclass(frozen=True)
class Design:
    """An Experiment of the study: the question that it asks, and the resource."""

    name: str
    question: str
    experiment: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The YAML file."""
        head = (
            f"# {self.question}\n"
            f"#   misstep run study/experiments/{self.name}.yaml --storage file://.misstep/study\n"
            "# Written from study/design.py by `make docs`; docs/study.md says what came out.\n"
        )
        return head + yaml.safe_dump(self.experiment, sort_keys=False, width=110)


def designs() -> list[Design]:
    """Return every Experiment of the study."""
    short, long = ([*_counts(of), *_strengths(of), *_epochs(of), *_credits(of)] for of in (SHORT, LONG))
    return [*short, _choices(), _rounds(), *long]


def _counts(task: Task) -> Iterator[Design]:
    for count in task.counts:
        arms = [pair_arm(layout, count) for layout in LAYOUTS]
        yield _design(task, f"pairs-{count}", f"What is {count} pairs of each kind worth?", arms)


def _strengths(task: Task) -> Iterator[Design]:
    arms = [pair_arm(layout) for layout in ("random", "teacher", "shared-prefix")]
    for beta in task.betas:
        question = f"How does each kind of pair bear beta {beta:g}, in place of {BETA:g}?"
        yield _design(task, f"beta-{_in_a_name(beta)}", question, arms, {"training": {"dpo": {"beta": beta}}})
    for rate in task.rates:
        question = f"How does each kind of pair bear learning rate {rate:g}, in place of {RATE:g}?"
        yield _design(task, f"rate-{_in_a_name(rate)}", question, arms, {"training": {"dpo": {"learningRate": rate}}})


def _epochs(task: Task) -> Iterator[Design]:
    arms = [RFT, *(pair_arm(layout) for layout in ("random", "shared-prefix"))]
    for epoch in task.epochs:
        question = f"What if the policy is fine-tuned for {epoch} epochs, in place of {EPOCH}?"
        yield _design(task, f"epoch-{epoch}", question, arms, {"training": {"sft": {"policy": {"epoch": epoch}}}})


def _credits(task: Task) -> Iterator[Design]:
    arms = [pair_arm("shared-prefix")]
    for number in task.rollouts:
        question = f"What if a prefix has {number} rollouts, in place of {ROLLOUTS}?"
        credit = {"rollouts": number, "bestOf": min(number, ROLLOUTS)}
        yield _design(task, f"rollouts-{number}", question, arms, {"credit": credit})
    question = "What if credit is adaptive, in place of a full scan?"
    yield _design(task, "adaptive", question, arms, {"credit": {"estimator": "adaptive"}})


RFT: Arm = {"name": "rft", "method": "rft"}


def _choices() -> Design:
    rules = [("shared-prefix", "nearest"), ("shared-prefix", "likeliest"), ("random", "nearest")]
    arms = [
        RFT,
        {"name": "rft-filtered", "method": "rft", "rft": {"filter": "advantage"}},
        pair_arm("random"),
        pair_arm("shared-prefix"),
        pair_arm("lucky-step"),
        pair_arm("shared-prefix", name="weighted", weight="advantage"),
        *(pair_arm(layout, name=f"{layout}-{rule}", chosen=rule) for layout, rule in rules),
    ]
    question = "Do filtered positives, lucky steps, weights, or rules for the chosen side help?"
    return _design(SHORT, "choices", question, arms, {"credit": {"positivesPerProblem": 4}})


def without_rule(arm: str) -> str:
    """Return the arm of the Experiment ``choices`` that is another one without its rule; itself if it has none."""
    return next((kind for kind in ("rft", "random") if arm.startswith(kind)), "shared-prefix")


ROUNDS = {"step": "shared-prefix", "random": "random", "rft": "rft"}
"""Beginnings of the names of arms in the Experiment ``rounds`` -> what they learn from."""


def _rounds() -> Design:
    arms: list[Arm] = []
    for name, kind in ROUNDS.items():
        first = RFT if kind == "rft" else pair_arm(kind)
        arms.append({**first, "name": f"{name}-1"})
        arms += [{**first, "name": f"{name}-{n}", "from": f"{name}-{n - 1}"} for n in (2, 3)]
    return _design(SHORT, "rounds", "What do further rounds add?", arms)


def _in_a_name(number: float) -> str:
    """Write a number as part of a name: ``0-03``, ``1e-4``."""
    return f"{number:g}".replace(".", "-") if number >= 0.01 else f"{number:.0e}".replace("e-0", "e-")


def pair_arm(layout: str, pairs: int = PAIRS, name: str | None = None, **pairing: Any) -> Arm:
    """Return an arm of one kind of pair, with so many pairs at most."""
    return {"name": name or layout, "method": "dpo", "pairs": layout, "pairing": {"maxPairs": pairs, **pairing}}


def _design(task: Task, name: str, question: str, arms: Sequence[Arm], changes: Spec | None = None) -> Design:
    """Return the base's Experiment with these arms beside fine-tuning, and with other settings merged into it."""
    spec: Spec = {
        "problems": {
            "train": {"format": task.format, "limit": 4000},
            "validation": {"format": task.format, "limit": 500},
            "test": {"format": task.format, "limit": 1000, "seed": 2},
            "sizes": [125],
        },
        "policy": {"model": {"name": "base", "path": task.model}},
        "verification": {"answerFormat": "hash"},
        "sampling": {"samples": 16, "temperature": 1, "maxNewTokens": task.max_new_tokens},
        "credit": {
            "estimator": "full-scan",
            "rollouts": ROLLOUTS,
            "bestOf": ROLLOUTS,
            "negativesPerProblem": 8,
            "auditPercent": 0,
        },
        "pairs": {"perProblem": 8},
        "training": {
            "sft": {
                "learningRate": 1e-3,
                "epochs": 32,
                "batchSize": 64,
                "schedule": "constant",
                "weightDecay": 0.1,
                "selection": {"epochs": list(SCORED), "problems": 500},
                "policy": {"epoch": EPOCH},
            },
            "rft": {
                "learningRate": 2e-4,
                "epochs": 8,
                "batchSize": 64,
                "schedule": "constant",
                "weightDecay": 0.1,
                "withTeacher": False,
                "selection": {"epochs": [8], "problems": 100},
            },
            "dpo": {"learningRate": RATE, "epochs": 4, "batchSize": 32, "beta": BETA},
        },
        "evaluation": {"samples": 2, "temperature": 0.7},
        "seeds": [0, 1, 2, 3],
        "arms": [{"name": "sft", "method": "sft"}, *copy.deepcopy(list(arms))],
        "resources": {"default": {"cpus": 1, "memory": "1Gi", "batchRows": 512, "blockRows": 512}},
    }
    full = task.prefix + name
    made = {"apiVersion": "misstep.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": full}}
    return Design(full, question, {**made, "spec": _merged(spec, changes or {})})


def _merged(base: Spec, changes: Mapping[str, Any]) -> Spec:
    made = dict(base)
    for name, value in changes.items():
        made[name] = _merged(base[name], value) if isinstance(value, Mapping) and name in base else value
    return made
