#!/usr/bin/env python3
"""Build the container images, with docker or buildah, whichever is installed.

    python tools/images.py [SERVICE ...] [--base IMAGE] [--vllm gpu|cpu] [--builder NAME] [--option=OPTION ...]

Tags them misstep-<service>:<version>. An option is handed to the build as it is, for example --option=--network=host.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from misstep import __version__
from misstep.plan.kinds import IMAGES

ROOT = Path(__file__).parents[1]
WHEELS = ROOT / "build/images"
SLIM = {
    "operator": "The operator that runs Experiments",
    "verification": "Stages that check text: problems, curate, verify",
    "evaluation": "Stages that count: score, report",
}
"""Image without torch -> its description. All are built from ``images/slim``; the others have a folder each."""
SERVICES = ("operator", *IMAGES)
STANDS_ON = {"training": "torch", "generation": "torch", "credit": "generation"}
"""Image -> the image whose layers it shares."""
SOURCE_LABEL = "dev.misstep.source"


def main(argv: list[str]) -> int:
    """Build the requested images and their bases; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("services", nargs="*", default=[], help=f"which (default: all of {', '.join(SERVICES)})")
    parser.add_argument("--base", help="image with Python 3.11 to start from (default: that of the Dockerfiles)")
    parser.add_argument("--vllm", choices=("gpu", "cpu"), default="gpu", help="which build of vLLM goes in")
    parser.add_argument("--builder", choices=("docker", "buildah"), help="default: docker where it answers")
    parser.add_argument("--option", action="append", default=[], help="handed to docker or buildah build")
    args = parser.parse_args(argv)
    wanted = args.services or list(SERVICES)
    unknown = set(wanted) - set(SERVICES)
    if unknown:
        parser.error(f"no such image: {', '.join(sorted(unknown))}; there are {', '.join(SERVICES)}")
    builder = args.builder or find_builder()
    if builder is None:
        print("Neither a docker daemon that answers nor buildah is here: install one of them.", file=sys.stderr)
        return 1
    make_wheel(WHEELS)
    labels = {SOURCE_LABEL: source(WHEELS), "org.opencontainers.image.revision": revision()}
    for service in with_foundations(wanted):
        arguments = {"VERSION": __version__, "REVISION": revision(), "VLLM": args.vllm}
        arguments |= {"BASE": args.base} if args.base else {}
        if service in STANDS_ON:
            arguments[STANDS_ON[service].upper()] = tag(builder, STANDS_ON[service])
        # A new label makes a new image, and voids all layers on it: torch, which is for no more than that, has none.
        build(builder, service, arguments, labels if service in SERVICES else {}, args.option)
    return 0


def find_builder() -> str | None:
    """Return the first builder that works here."""
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "version"], capture_output=True, check=False).returncode == 0:
        return "docker"
    return "buildah" if shutil.which("buildah") else None


def make_wheel(folder: Path) -> None:
    """Put this project's wheel, and no older one, into a folder. Dockerfiles look for it in ``WHEELS``."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def with_foundations(services: list[str]) -> list[str]:
    """Put the base of each image before it."""
    order: list[str] = []
    for service in services:
        chain = [service]
        while chain[0] in STANDS_ON:
            chain.insert(0, STANDS_ON[chain[0]])
        order += [image for image in chain if image not in order]
    return order


def tag(builder: str, service: str) -> str:
    """The image's name; buildah would look in other registries for one without a host."""
    return f"{'localhost/' if builder == 'buildah' else ''}misstep-{service}:{__version__}"


def build(builder: str, service: str, arguments: dict[str, str], labels: dict[str, str], options: list[str]) -> None:
    """Build one image and print its size.

    ``labels`` come over those of the Dockerfile: buildah 1.28 takes a LABEL from its cache although its ARG is another.
    """
    name, file = tag(builder, service), f"images/{'slim' if service in SLIM else service}/Dockerfile"
    target: list[str] = []
    if service in SLIM:
        arguments = arguments | {"IMAGE": service, "DESCRIPTION": SLIM[service]}
        target = ["--target", "misstep-operator" if service == "operator" else "misstep"]
    asked_for = {line.split()[1].split("=")[0] for line in (ROOT / file).read_text().splitlines() if line[:4] == "ARG "}
    quiet = ["--layers", "--quiet"] if builder == "buildah" else ["--quiet"]
    command = [builder, "build", *quiet, "--file", file, *target, "--tag", name]
    for key in sorted(asked_for & arguments.keys()):
        command += ["--build-arg", f"{key}={arguments[key]}"]
    for key, value in labels.items():
        command += ["--label", f"{key}={value}"]
    begun = time.monotonic()
    subprocess.run([*command, *options, "."], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # its identifier
    print(f"{name}: {size_of(builder, name) / 1e6:,.0f} MB after {time.monotonic() - begun:.0f} s", flush=True)


def size_of(builder: str, name: str) -> float:
    """Bytes of an image's files."""
    if builder == "docker":
        asked = ["docker", "image", "inspect", "--format", "{{.Size}}", name]
        return float(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    asked = ["buildah", "images", "--json", name]
    text = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)[0]["size"]
    number, unit = text.split()
    return float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def source(wheels: Path) -> str:
    """Digest of the wheel, Dockerfiles and locks, including uncommitted changes: images have it as a label."""
    files = {path.name: path for path in wheels.glob("*.whl")}
    for pattern in ("images/**/*", "locks/*.txt"):
        files |= {str(path.relative_to(ROOT)): path for path in ROOT.glob(pattern) if path.is_file()}
    lines = [f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for name, path in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def revision() -> str:
    """The commit that is checked out."""
    asked = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
