"""The checkout that images and chart are made of: its commit, and what differs from it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MADE_OF = (
    "services", "operator", "examples", "images", "locks", "charts", "tools", "pyproject.toml", "README.md", "LICENSE",
)  # fmt: skip
"""What goes into images or chart."""


@dataclass(frozen=True)
class Checkout:
    """What git says of it at one moment. A build takes minutes, in which people commit and edit."""

    commit: str | None
    """None where this is no git checkout."""
    committed_at: int
    """Time of the commit in seconds since 1970."""
    created: str
    """The same, with its time zone, as ISO 8601 writes it."""
    changed: tuple[str, ...]
    """Files that go into images or chart and are not as the commit has them."""
    origin: str | None
    """The https address of the remote ``origin``; None where there is none, or one without such an address."""

    @property
    def revision(self) -> str:
        """The commit, with ``-dirty`` where files are not as it has them."""
        return (self.commit or "unknown") + ("-dirty" if self.changed else "")

    @property
    def tag(self) -> str:
        """The tag of this revision."""
        return f"git-{(self.commit or 'unknown')[:12]}{'-dirty' if self.changed else ''}"


def read_checkout() -> Checkout:
    """Ask git."""
    address = re.sub(r"^(?:ssh://)?git@([^:/]+)[:/]", r"https://\1/", _git("config", "remote.origin.url"))
    return Checkout(
        commit=_git("rev-parse", "HEAD") or None,
        committed_at=int(_git("show", "--no-patch", "--format=%ct", "HEAD") or 0),
        created=_git("show", "--no-patch", "--format=%cI", "HEAD"),
        changed=tuple(line[3:] for line in _git("status", "--porcelain", "--", *MADE_OF).splitlines()),
        origin=address.removesuffix(".git") if re.fullmatch(r"https://[^@]+", address) else None,
    )


def _git(*arguments: str) -> str:
    """What git prints; empty where it fails or is not here."""
    program = shutil.which("git")
    if program is None:
        return ""
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.rstrip("\n") if done.returncode == 0 else ""
