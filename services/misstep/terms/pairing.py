"""How the chosen side of a pair is picked, and how much a pair counts: the words that spec, plan and stages share."""

from __future__ import annotations

from typing import Literal

ChosenBy = Literal["random", "shortest", "longest", "nearest", "farthest", "likeliest", "unlikeliest"]
PairWeight = Literal["none", "advantage"]

BY_LIKELIHOOD: tuple[ChosenBy, ...] = ("likeliest", "unlikeliest")
"""These need the policy itself, to score the sides."""
WITHOUT_SIZES = ("sequential", "bisection")
"""Estimators of credit that say at which step the chance of success falls, but not by how much."""
