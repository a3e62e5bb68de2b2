"""What tests of the command line share."""

from __future__ import annotations

from tests.cli.running import run

__all__ = ["run"]
