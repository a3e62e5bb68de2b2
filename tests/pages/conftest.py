from __future__ import annotations

from tests.evaluation.conftest import _without_syncing_to_disk

__all__ = ["_without_syncing_to_disk"]
