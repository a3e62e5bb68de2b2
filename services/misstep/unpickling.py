"""Load weight files without running code in them: a pickle can run code, and others can write to a store.

Standard library only: this runs before torch is imported.
"""

from __future__ import annotations

import os

_FORCED, _SWITCHED_OFF = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def read_weights_only() -> None:
    """Make torch load tensors and plain values only, in this process and its children.

    torch reads the variable at each ``torch.load``, and it overrides a caller's ``weights_only=False``, which DeepSpeed
    passes for its checkpoints. The opposite variable, if a user has set it, is removed: with both set torch loads
    nothing.
    """
    os.environ.pop(_SWITCHED_OFF, None)
    os.environ[_FORCED] = "1"
