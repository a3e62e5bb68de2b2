"""What stands in YAML without quotes, and what it is: also to kubectl, which `tests/cluster/test_numbers.py` asks."""

from __future__ import annotations

ALIKE: dict[str, object] = {
    "0.7": 0.7,
    "5e-7": 5e-7,
    "5E-7": 5e-7,
    "1e5": 1e5,
    "1.e5": 1e5,
    "1e+5": 1e5,
    "1e21": 1e21,
    ".5": 0.5,
    "+.5": 0.5,
    "5.": 5.0,
    "00.7": 0.7,
    "09.5": 9.5,
    "-0.5": -0.5,
    "+1": 1,
    "0": 0,
    "-7": -7,
    "0x1F": 31,
    "0o17": 15,
    "true": True,
    "True": True,
    "FALSE": False,
    "null": None,
    "~": None,
    "": None,
    '"0.7"': "0.7",
    "'yes'": "yes",
    "2026-01-01": "2026-01-01",
    "2026-01-01T00:00:00Z": "2026-01-01T00:00:00Z",
    "1:30": "1:30",
    "190:20:30": "190:20:30",
    "1e": "1e",
    "e5": "e5",
    "0x": "0x",
    "0o8": "0o8",
    "_1": "_1",
    "._5": "._5",
    "1.2.3": "1.2.3",
    "=": "=",
    "tRue": "tRue",
    "yEs": "yEs",
}
"""Text -> the value that it is to YAML 1.2 and to kubectl."""

_TRUE, _FALSE = "write true, or", "write false, or"
_NUMBER = "write it without leading zeros, underscores and prefix"
UNLIKE: dict[str, str] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), _TRUE),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), _FALSE),
    **dict.fromkeys(("017", "08", "00", "-017", "0b11", "0B11", "-0b11", "0X1F", "-0x1F", "+0o17", "0O17"), _NUMBER),
    **dict.fromkeys(("1_000", "1_000.5", "1__0", "1_", "0_1", "-_1", "1_0e5", "1e1_0", "0x1_F", "2026_01"), _NUMBER),
}
"""Text -> words of the fix that the loader names: YAML 1.2 and kubectl take it for different values."""
