"""Training: SFT, RFT and DPO through TRL on rows of token ids, resumable to the same bytes."""

from __future__ import annotations


def preload() -> None:
    """Import the modules that training stages use, for a server that forks them: no threads are started."""
    import misstep.training.arguments
    import misstep.training.run
    import misstep.training.trainers  # noqa: F401
