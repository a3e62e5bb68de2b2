"""``spec.assumptions``: what no plan can know before a run, for `misstep plan` to count with. Nothing here enters a
stage's key, and nothing here changes what runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from misstep.spec.fields import Count, Number, Percent, SpecModel


class TokensPerSecond(SpecModel):
    """Measured rates of one GPU (or one processor core) in place of the table's."""

    generate: Count | None = None
    """Tokens sampled."""
    read: Count | None = None
    """Prompt tokens read before sampling."""
    train: Count | None = None
    """Tokens trained on, forward and backward."""


class Assumptions(SpecModel):
    """Expectations behind the figures of `misstep plan`. What is left out has a default for the format of the training
    problems, see docs/cost.md."""

    question_tokens: Number | None = None
    """Mean tokens of a question, without the template and the examples."""
    solution_tokens: Number | None = None
    """Mean tokens of a teacher's solution."""
    response_tokens: Number | None = None
    """Mean tokens of a sampled response."""
    steps: Number | None = Field(default=None, ge=1)
    """Mean steps of a wrong solution."""
    correct_percent: Percent | None = None
    """Share of responses that are correct."""
    wrong_percent: Percent | None = None
    """Share of responses that end by themselves with a wrong answer; the rest is cut off or unreadable."""
    solved_percent: Percent | None = None
    """Share of problems that at least one of `sampling.samples` responses solves."""
    repeated_correct_percent: Percent | None = None
    """Share of a problem's correct responses that repeat an earlier one."""
    repeated_wrong_percent: Percent | None = None
    """Share of a problem's wrong responses that repeat an earlier one."""
    shared_prefix_percent: Percent | None = None
    """Share of prefixes that another wrong solution of the problem has too: they are rolled out once."""
    pit_percent: Percent | None = None
    """Where in a wrong solution the pit stands, in percent of its steps."""
    rollout_percent: int | None = Field(default=None, ge=1, le=1000)
    """Tokens of a rollout, in percent of what the wrong solution itself has after the prefix."""
    pairs_percent: Percent | None = None
    """Share of credited wrong solutions that give a pair."""
    epochs_percent: Percent | None = None
    """Share of the epochs that are trained before `selection.patience` ends a run."""
    test_problems: Count | None = None
    """Test problems, where `evaluation.limit` does not say and the format is no known benchmark."""
    train_problems: Count | None = None
    """Training problems, which a teacher takes as seeds, where their `limit` does not say and the format is no known
    benchmark."""
    gpu: Literal["h100", "a100"] = "h100"
    """The GPU whose rates are counted with."""
    tokens_per_second: TokensPerSecond = TokensPerSecond()
