"""The labels of images, by the names that the OCI gives them, and the state of the checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from misstep import __version__
from misstep.plan.kinds import KINDS

ROOT = Path(__file__).parents[1]
MADE_OF = (
    "services",
    "operator",
    "examples",
    "images",
    "locks",
    "charts",
    "tools",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
"""What goes into images and chart."""
OCI = "org.opencontainers.image."

_DESCRIPTIONS = {
    "operator": "The operator that runs Experiments",
    "problems": "Stages that make the table of problems",
    "verification": "The stage that judges answers",
    "generation": "Stages that sample",
    "credit": "Stages that credit steps",
    "training": "Stages that check and train models",
    "evaluation": "Stages that count",
}


def describe(service: str) -> str:
    """What an image is for, and the kinds of stage that it runs."""
    kinds = [kind.value for kind, of in KINDS.items() if of.image == service]
    return _DESCRIPTIONS[service] + (f": {', '.join(kinds)}" if kinds else "")


def labels(service: str, base: str, base_digest: str | None, repository: str | None) -> dict[str, str]:
    """Return the labels of an image.

    Args:
        base: the name of the image that the first layer comes from.
        base_digest: its digest; None for an image that no registry has.
        repository: address of the source code; None leaves out the labels that need it.
    """
    found = {
        "title": f"misstep-{service}",
        "description": describe(service),
        "version": __version__,
        "revision": revision(),
        "created": git("show", "--no-patch", "--format=%cI", "HEAD"),
        "licenses": "Apache-2.0",
        "vendor": "Misstep",
        "base.name": base,
        "base.digest": base_digest,
        "source": repository,
        "documentation": repository and f"{repository}/blob/{revision().partition('-')[0]}/docs/images.md",
    }
    return {OCI + name: value for name, value in found.items() if value}


def revision() -> str:
    """The commit that is checked out, with ``-dirty`` where files that go into images are not as it has them."""
    return (git("rev-parse", "HEAD") or "unknown") + ("-dirty" if changed() else "")


def committed_at() -> int:
    """The time of the commit that is checked out, in seconds since 1970; 0 where there is none."""
    return int(git("show", "--no-patch", "--format=%ct", "HEAD") or 0)


def changed() -> list[str]:
    """Files that go into images or chart and are not as the commit has them."""
    return [line[3:] for line in git("status", "--porcelain", "--", *MADE_OF).splitlines()]


def repository_of_origin() -> str | None:
    """The https address of the remote ``origin``; None where there is none, or one without such an address."""
    found = re.sub(r"^(?:ssh://)?git@([^:/]+)[:/]", r"https://\1/", git("config", "remote.origin.url"))
    return found.removesuffix(".git") if re.fullmatch(r"https://[^@]+", found) else None


def git(*arguments: str) -> str:
    """What git says of this checkout; empty where it cannot."""
    program = shutil.which("git") or "git"
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.rstrip("\n") if done.returncode == 0 else ""
