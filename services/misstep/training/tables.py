"""The tables that a training stage writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from misstep.artifacts.records import SELECTION, TRAINING_LOG
from misstep.training.selection import Score


def log_table(history: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Convert the trainer's log to a table: a row's loss is the mean over the steps since the previous row."""
    return pa.Table.from_pylist(list(log_rows(history)), schema=TRAINING_LOG)


def log_rows(history: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of that table. They are made when they are read: most steps publish none."""
    return (
        {
            "step": entry["step"],
            "epoch": entry["epoch"],
            "loss": entry["loss"],
            "learning_rate": entry["learning_rate"],
            "grad_norm": entry.get("grad_norm"),
            "rewards_accuracy": entry.get("rewards/accuracies"),
            "rewards_margin": entry.get("rewards/margins"),
        }
        for entry in history
        if "loss" in entry
    )


def selection_table(scores: Iterable[Score], chosen: Score | None, policy: Score | None = None) -> pa.Table:
    """Convert the scorings to a table in which the chosen one and the policy are marked."""
    rows = [
        {
            "epoch": score.epoch,
            "step": score.step,
            "problems": score.problems,
            "correct": score.correct,
            "train_problems": score.train_problems,
            "train_correct": score.train_correct,
            "chosen": score == chosen,
            "policy": score == policy,
        }
        for score in scores
    ]
    return pa.Table.from_pylist(rows, schema=SELECTION)
