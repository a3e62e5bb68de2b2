"""The browser of the system's packages, for the pictures in the docs and for tests of pages."""

from __future__ import annotations

import shutil

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Return the program; None where none of ``PROGRAMS`` is installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)
