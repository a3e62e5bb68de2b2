"""``spec.assumptions`` with all defaults filled in: the inputs of the estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from misstep.plan import params as p
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan
from misstep.spec.assumptions import Assumptions


@dataclass(frozen=True)
class Expectations:
    """Means over responses, solutions and problems; shares between 0 and 1. See `misstep.spec.assumptions`."""

    question_tokens: float
    solution_tokens: float
    response_tokens: float
    steps: float
    correct: float
    wrong: float
    solved: float
    repeated_correct: float = 0.0
    repeated_wrong: float = 0.0
    shared_prefix: float = 0.0
    pit: float = 0.5
    rollout: float = 1.0
    pairs: float = 0.9
    epochs: float = 1.0
    test_problems: int | None = None
    train_problems: int | None = None
    """Before validation problems are held out of them."""


DEFAULTS: dict[str, Expectations] = {
    # Lengths: measured on the official training problems with SmolLM2's tokenizer (59.8 and 93.2 tokens, 4.6 lines).
    # Responses of 110 tokens: the model of the method's notes. Shares of correct responses: conservative guesses for
    # a fine-tuned 7B model, below the 78.6% that arXiv 2404.10346 reports for DeepSeek-Math-7B.
    "gsm8k": Expectations(
        60, 95, 110, 4.6, correct=0.6, wrong=0.39, solved=0.9, test_problems=1319, train_problems=7473
    ),
    # Measured in the same way: 85.9 and 247 tokens. 7.4 steps and 370 tokens: Qwen2.5-Math's solutions of MATH. Shares:
    # guesses, near the 37.7% of arXiv 2404.10346.
    "math": Expectations(
        86, 250, 370, 7.4, correct=0.35, wrong=0.6, solved=0.65, test_problems=5000, train_problems=7500
    ),
    # Measured on examples/quickstart.yaml, 250 problems, both seeds: 65% of the responses are correct with the one
    # seed, 87% with the other. The share of solved problems is chosen to give the measured mean number of wrong
    # solutions.
    "strides": Expectations(
        question_tokens=15,
        solution_tokens=18.6,
        response_tokens=19,
        steps=3.8,
        correct=0.76,
        wrong=0.235,
        solved=0.9993,
        repeated_correct=0.91,
        repeated_wrong=0.1,
        shared_prefix=0.1,
        rollout=0.88,
        pairs=0.92,
        epochs=0.9,
    ),
    # Measured on study/experiments/long-pairs-200.yaml, all seeds.
    "long-strides": Expectations(
        question_tokens=21,
        solution_tokens=31,
        response_tokens=30.4,
        steps=6.2,
        correct=0.12,
        wrong=0.85,
        solved=0.81,
        repeated_correct=0.04,
        shared_prefix=0.18,
        rollout=0.9,
        pairs=0.81,
    ),
    # Questions and solutions: measured on 1,000 training problems with SmolLM2's tokenizer. The others: measured on
    # examples/words-smollm2.yaml, 64 problems, both seeds.
    "words": Expectations(
        question_tokens=42,
        solution_tokens=29,
        response_tokens=29,
        steps=3.1,
        correct=0.14,
        wrong=0.85,
        solved=0.39,
        repeated_correct=0.47,
        repeated_wrong=0.1,
        shared_prefix=0.09,
        pairs=0.31,
    ),
    # A table can hold anything: counted as GSM8K.
    "table": Expectations(60, 95, 110, 4.6, correct=0.6, wrong=0.39, solved=0.9),
}
"""By the format of the training problems."""

_SHARES = {
    "correct_percent": "correct",
    "wrong_percent": "wrong",
    "solved_percent": "solved",
    "repeated_correct_percent": "repeated_correct",
    "repeated_wrong_percent": "repeated_wrong",
    "shared_prefix_percent": "shared_prefix",
    "pit_percent": "pit",
    "rollout_percent": "rollout",
    "pairs_percent": "pairs",
    "epochs_percent": "epochs",
}
_MEANS = ("question_tokens", "solution_tokens", "response_tokens", "steps")


def expectations(plan: Plan, assumptions: Assumptions | None = None) -> Expectations:
    """Fill in the defaults for the training problems' format, and apply the limits of the plan.

    A part of a plan that lacks the problems stage gets the defaults of ``table``.
    """
    stage = next((s for s in plan.stages if s.kind is StageKind.PROBLEMS), None)
    if stage is None:
        return DEFAULTS["table"]
    problems = stage.typed_params()
    assert isinstance(problems, p.ProblemsParams)
    found = DEFAULTS[problems.train.format]
    given = {} if assumptions is None else {name: getattr(assumptions, name) for name in (*_MEANS, *_SHARES)}
    given = {name: value for name, value in given.items() if value is not None}
    changes: dict[str, Any] = {name: given[name] for name in _MEANS if name in given}
    changes |= {own: given[name] / 100 for name, own in _SHARES.items() if name in given}
    if problems.test is None:  # a search: it has its own number of samples of validation problems
        changes["test_problems"] = None
    elif problems.test.limit is not None:
        changes["test_problems"] = problems.test.limit
    elif problems.test.format != problems.train.format:
        changes["test_problems"] = DEFAULTS[problems.test.format].test_problems
    for name in ("test_problems", "train_problems"):
        if assumptions is not None and getattr(assumptions, name) is not None:
            changes[name] = getattr(assumptions, name)
    found = replace(found, **changes)
    return replace(found, solved=max(found.solved, found.correct), wrong=min(found.wrong, 1 - found.correct))
