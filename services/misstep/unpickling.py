"""Files of weights are read, and no code in them is run: a pickle is a program, and stores hold what others wrote.

Standard library only: it is asked before torch is imported.
"""

from __future__ import annotations

import os

_FORCED, _SWITCHED_OFF = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def read_weights_only() -> None:
    """Have torch read tensors and plain values only, in this process and those that it starts.

    torch asks the variable at each ``torch.load``, and heeds it also where a caller says ``weights_only=False``, as
    DeepSpeed does for its checkpoints. A variable by which a user has switched the check off is taken away: with both
    torch loads nothing.
    """
    os.environ.pop(_SWITCHED_OFF, None)
    os.environ[_FORCED] = "1"
