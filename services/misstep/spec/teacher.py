"""``spec.teacher``: who writes the solutions to imitate."""

from __future__ import annotations

from typing import Literal

from misstep.spec.fields import SpecModel


class Teacher(SpecModel):
    """Who writes the solutions to imitate."""

    kind: Literal["dataset"] = "dataset"
    """`dataset`: the solutions that come with the training problems. Those that do not reach the problem's own
    final answer are never trained on."""
