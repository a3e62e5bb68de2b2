"""Which pits, and which lucky steps, a known correct response refutes. Pure.

A pit says that no success was found after its step. Where another correct response to the problem begins with the same
steps, a success is known there: the rollouts missed it by chance, and the step is no pit. The lucky step of a correct
response is refuted in the same way. That response itself does not count, because it was picked for its success; neither
do samples that are equal to it, because samples count once. An equal rollout does: it was drawn to see whether it
succeeds.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from misstep.terms.verdict import Verdict

Ids = Sequence[int]


def refuted(token_ids: Ids, end: int, samples: Iterable[Ids], rollouts: Iterable[Ids] = ()) -> bool:
    """Return whether a known correct response passes through the blamed step of another response: then the step is no
    pit.

    Args:
        token_ids: of the response with the step.
        end: how many of them there are through the step.
        samples: token ids of the correct samples of the problem. Those that equal the response do not count.
        rollouts: token ids of its correct rollouts, prefix included (`whole_rollouts`).
    """
    whole, through = tuple(token_ids), tuple(token_ids[:end])
    if any(tuple(ids[:end]) == through and tuple(ids) != whole for ids in samples):
        return True
    return any(tuple(ids[:end]) == through for ids in rollouts)


def row_refuted(row: Mapping[str, Any], samples: Iterable[Ids], rollouts: Mapping[str, Sequence[Ids]]) -> bool:
    """Return whether the pit of a row of ``negatives`` or ``positives``, which has one, is refuted.

    Args:
        samples: token ids of the correct samples of its problem.
        rollouts: token ids of correct rollouts by problem (`whole_rollouts`).
    """
    end = row["step_ends"][row["pit"] - 1]
    return refuted(row["token_ids"], end, samples, rollouts.get(row["problem_id"], ()))


def whole_rollouts(
    credited: Iterable[Mapping[str, Any]], rollouts: Iterable[Mapping[str, Any]]
) -> dict[str, list[Ids]]:
    """Return the token ids of correct rollouts by problem, each with the prefix that it continues.

    Args:
        credited: rows of the table ``negatives`` or ``positives``; rollouts of other problems are left out.
        rollouts: rows of ``rollouts`` or ``positive_rollouts``.
    """
    prefixes: dict[tuple[str, str], Ids] = {}
    for row in credited:
        for name, end in zip(row["prefix_ids"], (0, *row["step_ends"]), strict=True):
            prefixes.setdefault((row["problem_id"], name), array("i", row["token_ids"][:end]))
    found: dict[str, list[Ids]] = {}
    for row in rollouts:
        prefix = prefixes.get((row["problem_id"], row["prefix_id"]))
        if prefix is not None and row["verdict"] == Verdict.CORRECT.value and row["finish_reason"] == "stop":
            found.setdefault(row["problem_id"], []).append(array("i", [*prefix, *row["token_ids"]]))
    return found
