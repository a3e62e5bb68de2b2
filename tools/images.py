#!/usr/bin/env python3
"""Build the container images with docker or buildah, and push them (docs/images.md).

    python -m tools.images [SERVICE ...] [--base IMAGE] [--vllm gpu|cpu] [--builder NAME] [--option=OPTION ...]
        [--push HOST/PATH [--allow-dirty]] [--sbom] [--packed] [--repository URL]

Names them misstep-<service>:<version>. An option is handed to the build as it is, for example --option=--network=host.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.checkout import Checkout, read_checkout
from tools.engines import Engine, EngineError, find_engine
from tools.image_labels import labels
from tools.pushing import push_all, refusal
from tools.sbom import find_syft, write_sbom

from misstep import __version__
from misstep.plan.kinds import IMAGES

ROOT = Path(__file__).parents[1]
WHEELS, RELEASE = ROOT / "build/images", ROOT / "build/release"
SLIM = ("operator", "verification", "evaluation", "tracking")
"""Images that are built from ``images/slim``; the others have a folder each."""
SERVICES = ("operator", *IMAGES, "tracking")
STANDS_ON = {"problems": "verification", "training": "torch", "generation": "torch", "credit": "generation"}
"""Image -> the image whose layers it shares."""
SOURCE_LABEL, VLLM_LABEL = "dev.misstep.source", "dev.misstep.vllm"


def main(argv: list[str]) -> int:
    """Build the requested images and their bases, and push them where that is asked; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__ and __doc__.splitlines()[0])
    parser.add_argument("services", nargs="*", default=[], help=f"which (default: all of {', '.join(SERVICES)})")
    parser.add_argument("--base", help="image with Python 3.11 to start from (default: that of the Dockerfiles)")
    parser.add_argument("--vllm", choices=("gpu", "cpu"), default="gpu", help="which build of vLLM goes in")
    parser.add_argument("--builder", choices=("docker", "buildah"), help="default: docker where it answers")
    parser.add_argument("--option", action="append", default=[], help="handed to docker or buildah build")
    parser.add_argument("--push", metavar="HOST/PATH", help="push them there, for example registry.example.com/team")
    parser.add_argument("--allow-dirty", action="store_true", help="push although files are not as the commit has them")
    parser.add_argument("--sbom", action="store_true", help="write what each image has in it to build/release, by syft")
    parser.add_argument("--packed", action="store_true", help="also print the size that a node fetches (buildah)")
    parser.add_argument("--repository", help="address of the source code, for labels (default: the remote origin's)")
    args = parser.parse_args(argv)
    wanted = args.services or list(SERVICES)
    unknown = set(wanted) - set(SERVICES)
    if unknown:
        parser.error(f"no such image: {', '.join(sorted(unknown))}; there are {', '.join(SERVICES)}")
    checkout = read_checkout()
    if args.push and (why := refusal(args.push, checkout, allow_dirty=args.allow_dirty)):
        parser.error(why)
    engine = find_engine(args.builder)
    if engine is None:
        print("Neither a docker daemon that answers nor buildah is here: install one of them.", file=sys.stderr)
        return 1
    syft = find_syft() if args.sbom else None
    if args.sbom and syft is None:
        print("syft is not here: `make syft` builds it (needs Go), or install it.", file=sys.stderr)
        return 1
    try:
        build_all(engine, wanted, checkout, args)
        names = {service: name_of(engine, service) for service in wanted}
        if syft:
            for service, name in names.items():
                write_sbom(syft, engine, name, RELEASE / f"misstep-{service}.spdx.json")
        if args.push:
            push_all(engine, names, args.push, checkout, RELEASE)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build_all(engine: Engine, wanted: list[str], checkout: Checkout, args: argparse.Namespace) -> None:
    """Build images, each after those whose layers it shares, and print their sizes.

    Raises:
        EngineError: a build failed, or locks or Dockerfiles were changed meanwhile.
    """
    make_wheel(WHEELS)
    base = args.base or base_of_dockerfiles()
    base_digest = base.partition("@")[2] or engine.digest(base)
    made_of = source(WHEELS)
    for service in with_foundations(wanted):
        arguments = {"VLLM": args.vllm, "BASE": base}
        if service in STANDS_ON:
            arguments[STANDS_ON[service].upper()] = name_of(engine, STANDS_ON[service])
        # A new label makes a new image, and voids all layers on it: torch, which is for no more than that, has none.
        given = {}
        if service in SERVICES:
            given = labels(service, checkout, base, base_digest, args.repository or checkout.origin)
            given[SOURCE_LABEL] = made_of
        if service in ("generation", "credit"):
            given[VLLM_LABEL] = args.vllm
        begun = time.monotonic()
        build(engine, service, arguments, given, args.option)
        name = name_of(engine, service)
        packed = engine.packed_size(name) if args.packed and service in SERVICES else None
        fetched = f", {packed / 1e6:,.0f} MB as pulled" if packed else ""
        print(
            f"{name}: {engine.files_size(name) / 1e6:,.0f} MB{fetched}, after {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    if source(WHEELS) != made_of:
        raise EngineError("Locks or Dockerfiles were changed while the images were built: build them again.")


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


def name_of(engine: Engine, service: str) -> str:
    """The image's name on this machine."""
    return engine.local(f"misstep-{service}:{__version__}")


def dockerfile(service: str) -> Path:
    """Where an image's Dockerfile is."""
    return ROOT / "images" / ("slim" if service in SLIM else service) / "Dockerfile"


def base_of_dockerfiles() -> str:
    """The base that Dockerfiles start from by default."""
    lines = dockerfile("operator").read_text().splitlines()
    return next(line.removeprefix("ARG BASE=") for line in lines if line.startswith("ARG BASE="))


def build(engine: Engine, service: str, arguments: dict[str, str], given: dict[str, str], options: list[str]) -> None:
    """Build one image.

    Labels are ``given`` here, not in the Dockerfile: buildah 1.28 takes a LABEL from its cache although its ARG is
    another.
    """
    file = dockerfile(service)
    command = ["--file", str(file.relative_to(ROOT)), "--tag", name_of(engine, service)]
    if service in SLIM:
        arguments = arguments | {
            "IMAGE": service,
            "PROGRAM": "misstep-operator" if service == "operator" else "misstep",
        }
    asked_for = {line.split()[1].split("=")[0] for line in file.read_text().splitlines() if line[:4] == "ARG "}
    for key in sorted(asked_for & arguments.keys()):
        command += ["--build-arg", f"{key}={arguments[key]}"]
    for key, value in given.items():
        command += ["--label", f"{key}={value}"]
    engine.build([*command, *options, "."], ROOT)


def source(wheels: Path) -> str:
    """Digest of the wheel, Dockerfiles and locks, including uncommitted changes: images have it as a label."""
    files = {path.name: path for path in wheels.glob("*.whl")}
    for pattern in ("images/**/*", "locks/*.txt"):
        files |= {str(path.relative_to(ROOT)): path for path in ROOT.glob(pattern) if path.is_file()}
    lines = [f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for name, path in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
