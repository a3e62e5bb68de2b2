"""The tables and counts of the credit stage, made from a credited block."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from misstep.artifacts.records import NEGATIVES, PREFIXES, ROLLOUTS
from misstep.credit.block import CreditedBlock

if TYPE_CHECKING:
    import pyarrow as pa


def credit_tables(block: CreditedBlock) -> dict[str, pa.Table]:
    """Return the tables ``prefixes``, ``negatives`` and ``rollouts``."""
    import pyarrow as pa

    return {
        "prefixes": pa.Table.from_pylist(_prefixes(block), schema=PREFIXES),
        "negatives": pa.Table.from_pylist(_negatives(block), schema=NEGATIVES),
        "rollouts": pa.Table.from_pylist(_rollouts(block), schema=ROLLOUTS),
    }


def _prefixes(block: CreditedBlock) -> list[dict[str, Any]]:
    return [
        {
            "problem_id": prefix.problem.problem_id,
            "prefix_id": prefix.prefix_id,
            "step": prefix.step,
            "token_ids": prefix.token_ids,
            "rollouts": prefix.counts.rollouts,
            "correct": prefix.counts.correct,
            "unknown": prefix.counts.unknown,
            "generated_tokens": sum(len(rollout.token_ids) for rollout in prefix.rollouts),
        }
        for prefix in block.prefixes
        if prefix.counts is not None
    ]


def _negatives(block: CreditedBlock) -> list[dict[str, Any]]:
    return [
        {
            "problem_id": credited.problem_id,
            "sample": credited.sample,
            "token_ids": credited.token_ids,
            "text": credited.text,
            "step_ends": credited.steps.ends,
            "step_texts": credited.steps.texts,
            "prefix_ids": credited.prefix_ids,
            "q": credited.q,
            "advantages": credited.advantages,
            "pit": credited.pit,
            "reason": credited.reason,
        }
        for credited in block.negatives
    ]


def _rollouts(block: CreditedBlock) -> list[dict[str, Any]]:
    return [
        {
            "problem_id": prefix.problem.problem_id,
            "prefix_id": prefix.prefix_id,
            "rollout": number,
            "token_ids": rollout.token_ids,
            "text": rollout.text,
            "verdict": rollout.verdict.value,
            "finish_reason": rollout.finish_reason,
        }
        for prefix, number, rollout in block.rollouts()
    ]


def credit_counts(block: CreditedBlock) -> dict[str, Any]:
    """Count what a block cost and what it found.

    ``prefixes`` is the number of prefixes rolled out; ``prefixes_unshared`` the number without sharing between
    negatives. ``prompt_tokens`` counts each rolled-out prefix, with its problem, once, like an engine that shares a
    prompt among its samples. Pits are counted by step and by tenth of the response, in percent of its steps.
    """
    rolled = [prefix for prefix in block.prefixes if prefix.rollouts]
    rollouts = [rollout for prefix in rolled for rollout in prefix.rollouts]
    pits = [(credited.pit, len(credited.steps.ends)) for credited in block.negatives if credited.pit]
    steps = [len(credited.steps.ends) for credited in block.negatives]
    return {
        "negatives": len(block.negatives),
        "steps": sum(steps),
        "prefixes": len(rolled),
        "prefixes_unshared": sum(prefix.wanted for prefix in rolled),
        "rollouts": len(rollouts),
        "generated_tokens": sum(len(rollout.token_ids) for rollout in rollouts),
        "prompt_tokens": sum(len(prefix.problem.prompt_ids) + len(prefix.token_ids) for prefix in rolled),
        "rollout_verdicts": _counted(
            rollout.verdict.value if rollout.finish_reason == "stop" else "cut_off" for rollout in rollouts
        ),
        "pits": len(pits),
        "no_pit": _counted(credited.reason for credited in block.negatives if credited.reason),
        "pit_step": _counted(f"{pit:02d}" for pit, _ in pits),
        "pit_percent": _counted(f"{-(-10 * pit // length) * 10:03d}" for pit, length in pits),
    }


def _counted(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
