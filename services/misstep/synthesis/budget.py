"""What a teacher spends, and its budget: deterministic shares, checked before anything is requested. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from misstep.plan.params import SynthesizeParams, TeacherBudgetParams
from misstep.synthesis import prompts
from misstep.synthesis.asks import Ask, Message, Reply

_PER_MESSAGE = 16
"""The most tokens that a chat template adds to a turn."""
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of some requests."""

    prompt: int = 0
    generated: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt + other.prompt, self.generated + other.generated)

    @property
    def tokens(self) -> int:
        return self.prompt + self.generated

    def cost(self, budget: TeacherBudgetParams) -> Fraction:
        """Money, exactly; 0 if no prices are known."""
        prompt, generated = Fraction(str(budget.price_input or 0)), Fraction(str(budget.price_output or 0))
        return (self.prompt * prompt + self.generated * generated) / _MILLION


def used(replies: Iterable[Reply]) -> Usage:
    """Add up the cost of replies, including those paid for in earlier runs."""
    total = Usage()
    for reply in replies:
        total += Usage(reply.prompt_tokens, reply.generated_tokens)
    return total


@dataclass(frozen=True, slots=True)
class Share:
    """One block's part of the budget, by its number of seeds."""

    budget: TeacherBudgetParams
    seeds: int
    of: int

    def allows(self, usage: Usage) -> bool:
        """Return whether a block may spend this much in all."""
        limit, cost = self.budget.max_tokens, self.budget.max_cost
        if limit is not None and usage.tokens * self.of > limit * self.seeds:
            return False
        return cost is None or usage.cost(self.budget) * self.of <= Fraction(str(cost)) * self.seeds


def prompt_bound(messages: Iterable[Message]) -> int:
    """The most tokens of a conversation: no common tokenizer makes more tokens than bytes."""
    return sum(len(content.encode()) + _PER_MESSAGE for _, content in messages)


def prompt_guess(ask: Ask) -> int:
    """Estimated tokens of a conversation, if they are not reported: four bytes each."""
    return -(-ask.size // 4)


def worst_case(question: str, params: SynthesizeParams) -> Usage:
    """The most that one seed can spend: every request made, each answer at the token limit."""
    style, limit, solutions = params.answer_style, params.decoding.max_new_tokens, params.solutions
    if not params.new_per_seed:
        return Usage(solutions * prompt_bound(prompts.solve(question, style)), solutions * limit)
    # Written text comes back inside prompts, with the same number of tokens.
    written = prompt_bound(prompts.write(question, style))
    checked = prompt_bound(prompts.check(question, style, "")) + limit
    solved = prompt_bound(prompts.solve("", style)) + limit
    one = Usage(written + checked + solutions * solved, (2 + solutions) * limit)
    return Usage(params.new_per_seed * one.prompt, params.new_per_seed * one.generated)
