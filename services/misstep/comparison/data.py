"""A comparison as data, for ``misstep compare --json``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from misstep.comparison.compared import Compared, differences, rows_of
from misstep.comparison.fairness import warnings
from misstep.evaluation.results import Cell


def as_data(compared: Sequence[Compared]) -> dict[str, Any]:
    """Return ``experiments``, ``warnings``, ``settings`` that differ, and ``cells``; each list of values has one for
    each experiment, in their order. Settings are as in stages, figures as in results.json."""
    different, same = differences(compared)
    return {
        "experiments": [
            {
                "name": one.name,
                "report": one.report or None,
                "title": one.results.title,
                "headline": one.results.headline,
                "test_problems": one.results.test_problems,
                "seeds": list(one.results.seeds),
                "settings_known": one.settings is not None,
            }
            for one in compared
        ],
        "warnings": warnings(compared, different),
        "settings": [{"path": d.path, "arms": list(d.arms), "values": list(d.values)} for d in different],
        "same_settings": same,
        "cells": [
            {
                "arm": row.arm,
                "method": row.method,
                "layout": row.layout,
                "from_arm": row.from_arm,
                "size": row.size,
                "values": [None if cell is None else _figures(cell) for cell in row.cells],
            }
            for row in rows_of(compared)
        ],
    }


def _figures(cell: Cell) -> dict[str, Any]:
    return {"accuracy": asdict(cell.accuracy), "seeds": list(cell.seeds), "worth": asdict(cell.worth)}
