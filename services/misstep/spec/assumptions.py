"""``spec.assumptions``: what cannot be known before a run and `misstep plan` needs for its estimates. Nothing here
enters a stage's key, and nothing here changes what runs."""

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
    """Expectations behind the estimates of `misstep plan`. A field that is left out has a default that depends on the
    format of the training problems, see docs/cost.md."""

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
    """Share of responses that end by themselves with a wrong answer; the remaining ones are cut off or unreadable."""
    solved_percent: Percent | None = None
    """Share of problems that at least one of `sampling.samples` responses solves."""
    repeated_correct_percent: Percent | None = None
    """Share of a problem's correct responses that repeat an earlier one."""
    repeated_wrong_percent: Percent | None = None
    """Share of a problem's wrong responses that repeat an earlier one."""
    shared_prefix_percent: Percent | None = None
    """Share of prefixes that another wrong solution of the same problem has too: each of them is rolled out once."""
    pit_percent: Percent | None = None
    """Where in a wrong solution the pit stands, in percent of its steps."""
    rollout_percent: int | None = Field(default=None, ge=1, le=1000)
    """Tokens of a rollout, in percent of the tokens that the wrong solution has after the prefix."""
    pairs_percent: Percent | None = None
    """Share of credited wrong solutions that give a pair."""
    epochs_percent: Percent | None = None
    """Share of the epochs that a run trains before `selection.patience` ends it."""
    test_problems: Count | None = None
    """Number of test problems, where `evaluation.limit` is not given and the format is not a known benchmark."""
    train_problems: Count | None = None
    """Number of training problems, which a teacher takes as seeds, where their `limit` is not given and the format is
    not a known benchmark."""
    gpu: Literal["h100", "a100"] = "h100"
    """The GPU whose rates the estimates use."""
    tokens_per_second: TokensPerSecond = TokensPerSecond()
