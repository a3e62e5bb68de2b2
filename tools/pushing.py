"""Push images to a registry: under which tags, from which checkout, and what is written of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from tools.checkout import Checkout
from tools.engines import Engine

from misstep import __version__

_HOST = r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(:\d+)?"
_PLACE = re.compile(_HOST + r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
_SHOWN = 3


def refusal(place: str, checkout: Checkout, *, allow_dirty: bool) -> str | None:
    """Return why nothing may be pushed from a checkout to a place; None where it may.

    A version's tag stands for a commit, so files must be as the commit has them.
    """
    if not _PLACE.fullmatch(place):
        return (
            f"--push {place}: give a host and a path in small letters, without https://, tag or slash at the end, for "
            "example registry.example.com/team"
        )
    if allow_dirty:
        return None
    how = f"Commit first, or push under the tag {__version__} all the same: --allow-dirty (make: DIRTY=1)."
    if checkout.commit is None:
        return f"--push {place}: this is no git checkout, so nobody could know what is pushed. {how}"
    if files := checkout.changed:
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        return f"--push {place}: not as the commit has them: {', '.join(files[:_SHOWN])}{more}. {how}"
    return None


def push_all(engine: Engine, images: Mapping[str, str], place: str, checkout: Checkout, folder: Path) -> None:
    """Push images, each under the version and the commit as tags, and print their digests.

    Writes ``images.txt``, the images by digest, one a line, and ``values.yaml``, which gives them to the chart.

    Args:
        images: service -> name of its image on this machine.
        place: host and path of the registry.
        folder: where the files go.
    """
    pushed: dict[str, str] = {}
    for service, name in images.items():
        repository = f"{place}/misstep-{service}"
        digests = {engine.push(name, f"{repository}:{tag}") for tag in (__version__, checkout.tag)}
        (pushed[service],) = digests
        print(f"{repository}:{__version__}, also {checkout.tag}: {pushed[service]}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{place}/misstep-{service}@{digest}\n" for service, digest in pushed.items()]
    (folder / "images.txt").write_text("".join(lines))
    values = {
        "image": {"registry": place},
        "images": {service: {"digest": digest} for service, digest in pushed.items()},
    }
    (folder / "values.yaml").write_text(f"# The images of {checkout.revision}, by digest.\n{yaml.safe_dump(values)}")
