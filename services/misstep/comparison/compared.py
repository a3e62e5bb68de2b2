"""What a comparison shows, as plain data: one Experiment each, and the rows of settings and figures. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from misstep.comparison.settings import Setting
from misstep.evaluation import wording as w
from misstep.evaluation.results import Cell, Results
from misstep.printable import printable
from misstep.spec.fields import number_text

MOST = 6
"""Experiments in one comparison: more cannot be told apart in one picture."""
LETTERS = "ABCDEF"
_LONG = 80
_ABSENT = object()


@dataclass(frozen=True)
class Compared:
    """One Experiment with its results."""

    name: str
    results: Results
    settings: Mapping[Setting, Any] | None
    """None if they are not known."""
    report: str = ""
    """The key of its report; empty if only its results.json is known."""

    @property
    def sft_sizes(self) -> tuple[int, ...]:
        """The sizes of the curve that its factors are read from."""
        return tuple(c.size for c in self.results.cells if c.arm == self.results.yardstick)


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same everywhere."""

    path: str
    arms: tuple[str, ...]
    """The arms with these values; empty if it is not of single arms, or if all have them."""
    values: tuple[Any, ...]
    """One for each Experiment, as in JSON; None also where it has no such setting."""

    @property
    def name(self) -> str:
        """The path, and the arms if not all have these values."""
        return f"{self.path} (of {w.listed(self.arms)})" if self.arms else self.path

    @property
    def texts(self) -> tuple[str, ...]:
        """The values, ready to print."""
        return tuple(map(value_text, self.values))


@dataclass(frozen=True)
class Row:
    """One arm at one size."""

    arm: str
    method: str
    layout: str | None
    from_arm: str | None
    size: int
    cells: tuple[Cell | None, ...]
    """One for each Experiment; None if it does not have the arm at this size."""


def differences(compared: Sequence[Compared]) -> tuple[list[Difference], int]:
    """Return the settings in which Experiments differ, by path, and how many are the same.

    Experiments whose settings are not known are left out: their values are None. A setting of an arm is compared where
    all have the arm.
    """
    known = [one for one in compared if one.settings is not None]
    if len(known) < 2:
        return [], 0
    arms = set.intersection(*({s.arm for s in one.settings or {}} for one in known))
    paths: dict[str, dict[tuple[str, ...], tuple[list[str], tuple[Any, ...]]]] = {}
    for setting in dict.fromkeys(s for one in known for s in one.settings or {} if s.arm in arms):
        values = tuple((one.settings or {}).get(setting, _ABSENT) for one in compared)
        # Dicts need keys, and lists are none: equal values have equal JSON.
        same = tuple("" if v is _ABSENT else json.dumps(v, sort_keys=True) for v in values)
        paths.setdefault(setting.path, {}).setdefault(same, ([], values))[0].append(setting.arm)
    different, equal = [], 0
    for path, groups in sorted(paths.items()):
        for same, (of, values) in groups.items():
            if len({text for text, one in zip(same, compared, strict=True) if one.settings is not None}) == 1:
                equal += 1
                continue
            named = tuple(of) if len(groups) > 1 else ()
            different.append(Difference(path, named, tuple(None if v is _ABSENT else v for v in values)))
    return different, equal


def rows_of(compared: Sequence[Compared]) -> list[Row]:
    """Return a row for each arm and size of any Experiment. Arms are the same if they have the same name and learn from
    the same; they stand in the order of their first appearance."""
    arms: dict[tuple[str, str, str | None, str | None], dict[int, list[Cell | None]]] = {}
    for index, one in enumerate(compared):
        for cell in one.results.cells:
            sizes = arms.setdefault((cell.arm, cell.method, cell.layout, cell.from_arm), {})
            sizes.setdefault(cell.size, [None] * len(compared))[index] = cell
    return [Row(*arm, size, tuple(cells)) for arm, sizes in arms.items() for size, cells in sorted(sizes.items())]


def value_text(value: Any) -> str:
    """Write a setting's value on one line; a long text or list is shortened, with a hash that shows whether two are
    the same."""
    if value is None:
        return w.NONE
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, list | tuple):
        plain = all(isinstance(item, str | int | float) for item in value)
        text = ", ".join(map(value_text, value)) if plain else json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    if len(text) > _LONG:
        short = hashlib.sha256(text.encode()).hexdigest()[:8]
        return printable(f"{text[:_LONG]}… ({len(text):,} characters, sha256 {short})")
    # Line breaks matter in prompts and stop strings.
    return printable(text.replace("\n", "\\n")) or '""'
