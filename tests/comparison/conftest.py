from __future__ import annotations

from tests.cli.running import run
from tests.evaluation.conftest import _without_syncing_to_disk

__all__ = ["_without_syncing_to_disk", "run"]
