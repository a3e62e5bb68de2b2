#!/usr/bin/env python3
"""Lint the chart, package it, and push it to a registry (docs/images.md).

    python -m tools.chart [--push HOST/PATH [--allow-dirty]] [--repository URL]

Writes build/release/misstep-<version>.tgz. A chart that is pushed takes the images beside it by default.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from helm_python import RegistryClient, chart
from helm_python.errors import HelmError
from tools.checkout import read_checkout
from tools.engines import on_this_machine
from tools.images import SERVICES
from tools.pushing import refusal

from misstep import __version__

ROOT = Path(__file__).parents[1]
CHART, RELEASE = ROOT / "charts/misstep", ROOT / "build/release"
SEVERITIES = ("note", "note", "warning", "error")


def main(argv: list[str]) -> int:
    """Lint, package, and push where that is asked; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.chart", description=__doc__ and __doc__.splitlines()[0])
    parser.add_argument("--push", metavar="HOST/PATH", help="push it there; its images are expected there too")
    parser.add_argument("--allow-dirty", action="store_true", help="push although files are not as the commit has them")
    parser.add_argument("--repository", help="address of the source code (default: that of the remote origin)")
    args = parser.parse_args(argv)
    checkout = read_checkout()
    if args.push and (why := refusal(args.push, checkout, allow_dirty=args.allow_dirty)):
        parser.error(why)
    with tempfile.TemporaryDirectory(prefix="misstep-chart-") as scratch:
        folder = prepared(Path(scratch), args.push, args.repository or checkout.origin)
        if findings := lint(folder):
            print("\n".join(findings), file=sys.stderr)
            return 1
        archive = package(folder, RELEASE, checkout.committed_at)
    print(f"{archive.relative_to(ROOT)}: linted and packaged")
    if args.push:
        try:
            print(f"oci://{args.push}/misstep:{__version__}: {push(archive, args.push)}")
        except HelmError as error:
            host = args.push.partition("/")[0]
            print(f"{error}\nWhere the registry asks for a login: helm registry login {host}", file=sys.stderr)
            return 1
    return 0


def prepared(scratch: Path, registry: str | None, repository: str | None) -> Path:
    """Return a copy of the chart, with what is known only when it is packaged.

    Args:
        registry: where its images are; None leaves this to users.
        repository: address of the source code.
    """
    folder = scratch / "misstep"
    shutil.copytree(CHART, folder)
    about = yaml.safe_load((folder / "Chart.yaml").read_text())
    if repository:
        about |= {"home": repository, "sources": [repository]}
        links = [{"name": "Documentation", "url": f"{repository}/tree/HEAD/docs"}]
        about["annotations"]["artifacthub.io/links"] = yaml.safe_dump(links)
    if registry:
        images = [
            {"name": f"misstep-{service}", "image": f"{registry}/misstep-{service}:{__version__}"}
            for service in SERVICES
        ]
        about["annotations"]["artifacthub.io/images"] = yaml.safe_dump(images)
        _set_registry(folder / "values.yaml", registry)
    (folder / "Chart.yaml").write_text(yaml.safe_dump(about, sort_keys=False))
    return folder


def _set_registry(values: Path, registry: str) -> None:
    """Set the default of ``image.registry``."""
    text = values.read_text()
    empty = '  registry: ""\n'
    if text.count(empty) != 1:
        raise LookupError(f"{values.name} has not one line {empty!r} to set the registry in")
    values.write_text(text.replace(empty, f'  registry: "{registry}"\n'))


def lint(folder: Path) -> list[str]:
    """Return what Helm has against the chart, warnings too; empty if nothing."""
    report: dict[str, Any] = chart.lint(folder, strict=True)
    found = [
        f"{SEVERITIES[one['severity']]}: {one['path']}: {one['error']}"
        for one in report["messages"]
        if SEVERITIES[one["severity"]] != "note"
    ]
    return found or list(report["errors"])


def package(folder: Path, destination: Path, when: int) -> Path:
    """Package the chart and return the archive: the same bytes, and the same digest in a registry, for the same time.

    Args:
        when: the time that all files get, in seconds since 1970.
    """
    destination.mkdir(parents=True, exist_ok=True)
    for file in folder.rglob("*"):
        os.utime(file, (when, when))
    archive = Path(chart.package(folder, destination=destination))
    os.utime(archive, (when, when))  # a push notes it as the time of creation
    return archive


def push(archive: Path, place: str) -> str:
    """Push a packaged chart below ``place``; returns its digest."""
    plain = on_this_machine(place)
    with RegistryClient(plain_http=plain) as client:
        client.push(archive, f"oci://{place}", plain_http=plain)
        return str(client.resolve(f"{place}/misstep:{__version__}")["digest"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
