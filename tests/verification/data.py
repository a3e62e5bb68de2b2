"""Rows of GSM8K and MATH, and golds altered so that they are no longer the answer."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from tests.shared_data import shared_data


def rows(name: str, file: str) -> list[dict[str, Any]]:
    text = (shared_data(name) / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def altered(gold: str, rng: random.Random) -> str | None:
    """The gold with one of its numbers changed; None where it has none that can be changed for sure.

    Left alone are numbers of one digit after ``\\frac`` (as in ``\\frac19``, where a second digit changes the
    syntax), exponents of units, and golds that state one value twice (``.56 = 56\\%``).
    """
    if re.search(r"\\approx|\d\s*=", gold):
        return None
    places = [
        found
        for found in re.finditer(r"\d+", gold)
        if not re.search(r"\\frac\s?\d*$|\}\s*\^$|_\{?$", gold[: found.start()])
    ]
    if not places:
        return None
    found = rng.choice(places)
    number = str(int(found.group()) + rng.choice((1, 2, 7))).rjust(len(found.group()), "0")
    return gold[: found.start()] + number + gold[found.end() :]
