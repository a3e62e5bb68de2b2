"""Which columns of a file hold the problem, the gold answer and the response. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from misstep.datafiles.cells import ABSENT, find, paths
from misstep.errors import BadInput
from misstep.text import did_you_mean

USUAL = {
    "question": ("question", "problem", "prompt", "instruction", "input"),
    "gold": ("gold", "gold_answer", "ground_truth", "expected_answer", "final_answer", "answer", "solution"),
    "response": ("response", "responses", "completion", "completions", "output", "outputs", "generation", "text"),
}
"""The names that are tried, in this order, where no option names the column."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns, or dotted paths into them; None where an option is not used."""

    question: str | None = None
    gold: str | None = None
    response: str | None = None
    """Of the text of a response, or of a list of responses."""
    steps: str | None = None
    """Of the list of steps that make up one response, instead of ``response``."""
    problem_id: str | None = None
    labels: str | None = None
    """Of the index of the first wrong step, from 0; -1 for none."""

    @property
    def asked(self) -> dict[str, str]:
        """Return the columns that are read, by the option that names each."""
        options = {
            "--question": self.question,
            "--gold": self.gold,
            "--response": self.response,
            "--steps": self.steps,
            "--id": self.problem_id,
            "--labels": self.labels,
        }
        return {option: name for option, name in options.items() if name is not None}


def choose_columns(asked: Columns, row: Mapping[str, Any], where: str) -> Columns:
    """Fill in the columns that no option names by the usual names, and check that the first row has them all.

    Args:
        asked: what the options name.
        row: the first row.
        where: its place, for messages.

    Raises:
        BadInput: the row lacks a column, or options exclude each other.
    """
    if asked.response is not None and asked.steps is not None:
        raise BadInput("--steps", asked.steps, "The list of steps is the response: leave out --response.")
    if asked.labels is not None and asked.steps is None:
        raise BadInput(
            "--labels",
            asked.labels,
            "A label counts given steps: name the column that holds the list of steps with --steps.",
        )
    chosen = Columns(
        question=asked.question or _usual("question", row, where),
        gold=asked.gold or _usual("gold", row, where),
        response=asked.response or (None if asked.steps else _usual("response", row, where)),
        steps=asked.steps,
        problem_id=asked.problem_id,
        labels=asked.labels,
    )
    names = list(paths(row))
    for option, name in chosen.asked.items():
        if find(row, name) is ABSENT:
            has = f"The columns of {where} are: {', '.join(names) or 'none'}."
            raise BadInput(option, name, f"There is no such column. {did_you_mean(name, names, '')} {has}".strip())
    twice = [name for name in chosen.asked.values() if list(chosen.asked.values()).count(name) > 1]
    if twice:
        options = " and ".join(option for option, name in chosen.asked.items() if name == twice[0])
        raise BadInput(options, twice[0], "They name the same column: give each its own.")
    return chosen


def _usual(what: str, row: Mapping[str, Any], where: str) -> str:
    name = next((name for name in USUAL[what] if name in row), None)
    if name is None:
        names = ", ".join(paths(row)) or "none"
        raise BadInput(
            f"--{what}",
            f"not given, and {where} has none of {', '.join(USUAL[what])}",
            f"Name the column with --{what}. The columns are: {names}.",
        )
    return name
