"""Texts for people."""

from __future__ import annotations

import pytest

from misstep.text import did_you_mean, duration_text, memory_text, size_text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (61.4, "1 min 01 s"), (7500, "2 h 05 min")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_sizes_read_well() -> None:
    assert [size_text(size) for size in (1023, 1536, 5 * 2**30, 3 * 2**40)] == [
        "1023 B", "1.5 KiB", "5.0 GiB", "3.0 TiB",
    ]  # fmt: skip
    assert [size_text(size, decimal=True) for size in (999, 1500, 2.5e9, 3e13)] == [
        "999 B", "1.5 kB", "2.5 GB", "30.0 TB",
    ]  # fmt: skip
    assert [memory_text(mib) for mib in (119.2, 2048, 2049)] == ["120 MiB", "2.0 GiB", "2.1 GiB"]


def test_the_nearest_name_is_suggested() -> None:
    assert did_you_mean("reprot", ["report", "sft"], "None is near.") == "Did you mean report?"
    assert did_you_mean("xyz", ["report", "sft"], "None is near.") == "None is near."
