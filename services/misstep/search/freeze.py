"""Write the settings that a search has chosen into the YAML that was searched."""

from __future__ import annotations

import datetime
import os
import textwrap
from collections.abc import Mapping
from itertools import chain, dropwhile
from pathlib import Path
from typing import Any

from misstep.errors import BadInput
from misstep.search.result import SearchResult, setting_text
from misstep.spec.edit import Path as Place
from misstep.spec.edit import changed, edit
from misstep.spec.experiment import Experiment
from misstep.spec.fields import is_quoted_number
from misstep.spec.load import check_document, parse_document
from misstep.spec.rewrite import PLACES, flow_text
from misstep.spec.schema import comment_moved

_MARK = "#: "
"""The prefix of each line of the comment at the top that says where settings come from; a later comment replaces it."""
_WIDTH = 110


def frozen_yaml(
    text: str, experiment: Experiment, result: SearchResult, source: Path, target: Path, day: datetime.date
) -> str:
    """Write the chosen settings into an Experiment's YAML; everything else, comments too, stays unchanged.

    Args:
        text: the YAML that was searched.
        source: its file.
        target: the file of the result; relative paths of data, models and the editor's schema are rewritten relative
            to it.
    """
    body = "".join(dropwhile(lambda line: line.startswith(_MARK), text.splitlines(keepends=True)))
    body = comment_moved(body, source.resolve().parent, target.resolve().parent)
    chosen = {arm.arm: arm.best.setting for arm in result.arms}
    document = parse_document(body, str(source))
    changes = settings_changes(document, experiment, chosen) + _moved(document, source, target)
    return _comment(result, source, day) + edit(body, changes)


def settings_changes(
    document: Mapping[str, Any], experiment: Experiment, chosen: Mapping[str, Mapping[str, Any]]
) -> list[tuple[Place, Any]]:
    """Return which values go where in a document.

    A setting that all arms of a method share goes to ``spec.training``, unless it conflicts with other fields there.
    Any other setting goes to the arm itself, and so does a field that an arm already sets for itself.

    Args:
        chosen: arm -> setting, in the YAML's spelling.
    """
    shared = _changes(document, experiment, chosen, share=True)
    try:
        check_document(changed(document, shared), "the experiment with the settings chosen")
    except BadInput:
        return _changes(document, experiment, chosen, share=False)
    return shared


def _changes(
    document: Mapping[str, Any], experiment: Experiment, chosen: Mapping[str, Mapping[str, Any]], *, share: bool
) -> list[tuple[Place, Any]]:
    found: list[tuple[Place, Any]] = []
    arms = document["spec"].get("arms")
    for number, arm in enumerate(experiment.spec.arms):
        own = (arms[number].get(arm.method) or {}) if arms else {}
        alike = all(
            chosen[other.name] == chosen[arm.name] for other in experiment.spec.arms if other.method == arm.method
        )
        for field, value in chosen[arm.name].items():
            place: Place = ("spec", "arms", number, arm.method, field)
            if share and alike and field not in own:
                place = ("spec", "training", arm.method, field)
            if (place, value) not in found and not _says(document, place, value):
                found.append((place, value))
    if arms is None and any(place[1] == "arms" for place, _ in found):
        spelled = [arm.model_dump(mode="json", by_alias=True, exclude_unset=True) for arm in experiment.spec.arms]
        found.insert(0, (("spec", "arms"), spelled))
    return found


def _says(document: Any, place: Place, value: Any) -> bool:
    """Return whether the value is there already, perhaps in another spelling."""
    for step in place:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return False
    if _is_number(value):
        if isinstance(document, str) and is_quoted_number(document):
            document = float(document)
        return _is_number(document) and bool(document == value)
    return bool(document == value) and type(document) is type(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _moved(document: Mapping[str, Any], source: Path, target: Path) -> list[tuple[Place, Any]]:
    """Relative paths of data and models, relative to the new file's folder."""
    here, there = source.resolve().parent, target.resolve().parent
    found: list[tuple[Place, Any]] = []
    for steps in PLACES.values() if here != there else ():
        at: Any = document["spec"]
        for step in steps:
            at = (at or {}).get(step)
        path = Path((at or {}).get("path") or "/").expanduser()
        if not path.is_absolute():
            found.append((("spec", *steps, "path"), os.path.relpath(here / path, there)))
    return found


def _comment(result: SearchResult, source: Path, day: datetime.date) -> str:
    """Return the comment that says which search chose the settings."""
    seeds, sizes = (", ".join(map(str, values)) for values in (result.seeds, result.sizes))
    lines = [
        f"Settings frozen by `misstep tune {source.name}` on {day.isoformat()}: of each arm the best mean pass@1 on "
        f"{result.judging_problems:,} validation problems that choose no checkpoint.",
        f"Seeds {seeds}; {sizes} training problems; {result.samples} samples a problem. No test problem was seen.",
    ]
    grids = {arm.method: arm.grid for arm in result.arms}
    lines += [f"Grid of {method}: {flow_text(grid)}" for method, grid in grids.items() if grid]
    for arm in result.arms:
        error = "" if arm.best.standard_error is None else f" ± {100 * arm.best.standard_error:.1f}"
        setting = setting_text(arm.best.setting) or "as it was"
        lines.append(f"{arm.arm}: {setting}: {100 * arm.best.mean:.1f}{error}%")
    wrapped = chain.from_iterable(textwrap.wrap(line, _WIDTH, subsequent_indent="  ") for line in lines)
    return "".join(f"{_MARK}{line}\n" for line in wrapped)
