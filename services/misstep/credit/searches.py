"""What all searches over one problem's responses have in common.

A search knows nothing of engines. It names draws (a prefix, and how many more rollouts of it), and is told when they
are judged. Prefixes that several responses share are one prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from misstep.credit.block import CreditedResponse, Prefix, prefix_id
from misstep.credit.selection import CreditProblem, SampledResponse
from misstep.credit.steps import Steps
from misstep.credit.values import Counts, advantages

Draw = tuple[Prefix, int]
"""A prefix, and how many more rollouts of it to draw."""


class Search(Protocol):
    """The search over one problem's wrong responses."""

    prefixes: dict[str, Prefix]
    """All prefixes of these responses, by id."""

    def start(self) -> list[Draw]:
        """Return the first draws."""

    def receive(self, prefix: Prefix) -> list[Draw]:
        """Learn that the draws of a prefix are among its rollouts; return the next draws, often none yet. A prefix is
        not named again before its draws are received."""

    @property
    def done(self) -> bool: ...

    @property
    def most(self) -> int:
        """Rollouts drawn so far, and all that may still be needed."""

    def results(self) -> Iterator[CreditedResponse]:
        """Yield what was found, in the order of the problem's negatives."""


def prefixes_of(
    problem: CreditProblem, negative: SampledResponse, steps: Steps, known: dict[str, Prefix]
) -> list[Prefix]:
    """Return the prefixes of a response after 0, 1, ... L-1 steps, and add those that are new to ``known``."""
    found = []
    for step, end in enumerate((0, *steps.ends[:-1])):
        ids = negative.token_ids[:end]
        name = prefix_id(problem.problem_id, ids)
        found.append(known.setdefault(name, Prefix(name, problem, step, ids)))
    return found


def solved_problem(samples: Counts, enough: int) -> bool | None:
    """Return whether a problem's samples show that the policy can solve it; None if they are too few to say."""
    return samples.correct > 0 if samples.rollouts >= enough else None


def credited_response(
    problem: CreditProblem,
    response: SampledResponse,
    steps: Steps,
    prefixes: Sequence[Prefix],
    *,
    q: tuple[float | None, ...],
    alive: tuple[float | None, ...],
    solved: Sequence[int],
    failed: Sequence[int],
    pit: int | None,
    reason: str | None,
    certainty: float | None = None,
) -> CreditedResponse:
    """Return what a search found out about a response, with the fields of `CreditedResponse`.

    Args:
        prefixes: of the response, after 0, 1, ... L-1 steps.
    """
    whole = prefix_id(problem.problem_id, response.token_ids)
    return CreditedResponse(
        problem_id=problem.problem_id,
        sample=response.sample,
        token_ids=response.token_ids,
        text=response.text,
        steps=steps,
        prefix_ids=(*(prefix.prefix_id for prefix in prefixes), whole),
        q=q,
        advantages=tuple(advantages(q)),
        alive=alive,
        certainty=certainty,
        solved=tuple(solved),
        failed=tuple(failed),
        pit=pit,
        reason=reason,
    )
