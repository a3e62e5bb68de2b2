"""The report stage: writes ``report.html``, ``results.json`` and ``results.csv`` from all results of a grid."""

from __future__ import annotations

from typing import Any

from misstep.artifacts.output import Output
from misstep.errors import BadInput
from misstep.evaluation.analysis import analyse
from misstep.evaluation.examples import read_credit
from misstep.evaluation.gather import gather
from misstep.evaluation.page import render
from misstep.evaluation.results import Results
from misstep.evaluation.results_table import as_csv
from misstep.evaluation.shown import read_shown
from misstep.plan.params import ReportParams
from misstep.stages.context import OneBlock, StageContext, Work

FEWEST_RESAMPLES = 100


def open_work(ctx: StageContext) -> Work:
    """Open the report stage; ``ReportParams`` names its inputs. Raises BadInput."""
    return _Report(ctx)


class _Report(OneBlock):
    """One block, because a report covers everything."""

    def __init__(self, ctx: StageContext) -> None:
        assert isinstance(ctx.params, ReportParams)
        self._ctx, self._params = ctx, ctx.params
        if self._params.bootstrap < FEWEST_RESAMPLES:
            raise BadInput(
                "spec.evaluation.bootstrap",
                self._params.bootstrap,
                f"Intervals are read off the resamples: use {FEWEST_RESAMPLES} or more.",
            )

    def run(self, block: int) -> Output:
        """Write the files. Raises MisstepError if grid points were not tested on the same problems."""
        assert block == 0
        gathered = gather(self._ctx, self._params.grid)
        results = analyse(gathered, self._params)
        q, examples = read_credit(self._ctx, self._params.grid, self._params.examples)
        texts = {
            "report.html": render(results, q, examples, read_shown(self._ctx, self._params.grid)),
            "results.json": results.to_json(),
            "results.csv": as_csv(results),
        }
        for name, text in texts.items():
            (self._ctx.scratch / name).write_text(text, encoding="utf-8", newline="\n")
        self._ctx.progress.update(len(self._params.grid), len(self._params.grid), "grid points")
        return Output(files={name: self._ctx.scratch / name for name in texts}, summary=_headline(results))


def _headline(results: Results) -> dict[str, Any]:
    """Return the figures for a list of experiments."""
    return {
        "title": results.title,
        "headline": results.headline,
        "conclusion": results.conclusion,
        "notes": list(results.notes),
        "cells": [
            {
                "arm": cell.arm,
                "size": str(cell.size),
                "accuracy": round(cell.accuracy.value, 6),
                "relation": cell.worth.interpolated.relation,
                "factor": None if cell.worth.interpolated.factor is None else round(cell.worth.interpolated.factor, 6),
            }
            for cell in results.cells
        ],
    }
