"""The formats of problems, by name. Spec, plan and operator use this too, so it imports nothing heavy.

A further generated format is one name here, one line in `misstep.problems.generated` and one in
`misstep.cost.expectations`.
"""

from __future__ import annotations

from typing import Literal, get_args

FileFormat = Literal["gsm8k", "math", "table"]
GeneratedFormat = Literal["strides", "long-strides", "words"]
Format = Literal[FileFormat, GeneratedFormat]
"""How the problems of a source are written, or which generator writes them."""

GENERATED: tuple[GeneratedFormat, ...] = get_args(GeneratedFormat)
"""These are generated: they have a limit and a seed, and no file (`misstep.problems.generated` has the generators)."""
