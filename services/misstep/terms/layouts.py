"""The names of the pair layouts, and what each needs. Spec, plan and report use this too, so it imports nothing heavy.

`misstep.credit.layouts` defines the layouts.
"""

from __future__ import annotations

from typing import Literal

Layout = Literal[
    "shared-prefix", "whole-response", "placebo-cut", "oracle-pit", "lucky-step", "random", "edit-distance", "teacher"
]

PLACEBO: Layout = "placebo-cut"
"""As ``shared-prefix``, but cut at a step drawn at random."""
CREDITED: tuple[Layout, ...] = ("shared-prefix", "whole-response")
"""The method itself: these blame the pit that credit found, so their gain is due to credit. The first one is the layout
whose chosen side starts at the pit."""
LUCKY: Layout = "lucky-step"
"""Blames a step of a correct response that luck saved. It needs credit of correct responses."""
CONTROLS: tuple[Layout, ...] = (PLACEBO, "oracle-pit")
"""As ``shared-prefix``, but cut at another step than credit's pit. They separate the effect of credit from the effect
of a shared prefix."""
FROM_CREDIT: tuple[Layout, ...] = (*CREDITED, *CONTROLS, LUCKY)
"""These read the credit stage: its credited responses, their steps and the rollouts from their prefixes."""
WEIGHED: tuple[Layout, ...] = (*CREDITED, PLACEBO, LUCKY)
"""Each of their pairs is of a response with a pit, and can be weighed by the fall there."""
TEACHER: Layout = "teacher"
"""Off-policy: its chosen side is the teacher's solution, not one of the policy's own."""
FIXED_CHOICE: tuple[Layout, ...] = ("edit-distance", TEACHER)
"""The layout itself says which chosen side a wrong response gets."""
OPPONENTS: tuple[Layout, ...] = ("random", PLACEBO)
"""These use no credit: the gain of the credited layouts over them is due to credit."""
ONE_STEP: tuple[Layout, ...] = ("shared-prefix", *CONTROLS, LUCKY)
"""Their rejected side is one step."""
FROM_ORACLE: tuple[Layout, ...] = ("oracle-pit",)
"""These need a task that knows the first error of a response (`misstep.problems.oracles`)."""
TASKS_WITH_ORACLE = ("strides", "long-strides")
"""Formats of problems whose task knows that (`misstep.problems.oracles` has the functions)."""
