"""Suggest a first ``search`` block, around the settings that an Experiment has. Pure."""

from __future__ import annotations

from typing import Any

from misstep.errors import BadInput
from misstep.spec.experiment import Experiment, ExperimentSpec
from misstep.spec.fields import plain_number
from misstep.spec.rewrite import flow_text
from misstep.spec.search import Search

_PROBLEMS = 1000


def refuse_nothing_to_search(experiment: Experiment) -> Search:
    """Return an experiment's search. Raises BadInput, with a block to paste, if there is none."""
    spec = experiment.spec
    search = spec.search
    if search is not None and any(len(search.grid(arm.method).settings()) > 1 for arm in spec.arms):
        return search
    said = "not given" if search is None else "no arm has more than one setting"
    lines = "\n".join(suggestion(spec))
    raise BadInput("spec.search", said, f"Say what to try. A grid around the present settings:\n{lines}\n")


def suggestion(spec: ExperimentSpec) -> list[str]:
    """Return a block that fits into ``spec``: each method's learning rate, and DPO's beta, at about a third and three
    times the present value."""
    first = max([99, *spec.seeds]) + 1
    lines = ["  search:", f"    seeds: [{first}, {first + 1}, {first + 2}]", f"    problems: {_PROBLEMS}"]
    for method in dict.fromkeys(arm.method for arm in spec.arms):
        training = getattr(spec.training, method)
        grid: dict[str, Any] = {"learningRate": around(training.learning_rate)}
        if method == "dpo":
            grid["beta"] = around(training.beta)
        lines.append(f"    {method}: {flow_text(grid)}")
    return lines


def around(value: float) -> list[float]:
    """Return a third of a value, the value, and three times it, the outer two with one digit."""
    found = [float(f"{value / 3:.0e}"), value, float(f"{value * 3:.0e}")]
    return [plain_number(each) for each in dict.fromkeys(found)]
