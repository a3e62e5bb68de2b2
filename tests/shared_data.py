"""Where tests find GSM8K and MATH: a folder next to the checkout, or the one that an environment variable names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """Return the folder of one data set, or skip the test with the reason.

    ``MISSTEP_TEST_DATA`` names a folder that holds ``gsm8k/`` and ``math/`` in their official JSONL form;
    without it, ``../shared/data`` next to the checkout is tried.
    """
    root = Path(os.environ.get("MISSTEP_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    folder = root / name
    if not folder.is_dir():
        pytest.skip(f"no {name} data at {folder}; set MISSTEP_TEST_DATA to a folder that holds {name}/")
    return folder
