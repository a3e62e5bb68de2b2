"""Where a name from a store or a manifest may become a file: inside one folder of this machine, and nowhere else.

Whoever may write a store chooses the names in it. Every place that makes such a name a path on disk asks here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from misstep.errors import BadInput
from misstep.store.base import valid_path

_DRIVE = re.compile(r"[A-Za-z]:")
_MOST_COMPONENT_BYTES = 255
"""NAME_MAX of Linux."""
_MOST_BYTES = 1024
"""The longest key that S3 takes."""


class UnsafeName(ValueError):
    """A name that cannot be a file's inside a folder, or not beside the others. Its text says why."""


def check_name(name: str) -> str:
    """Return the name of a file below a folder, ``/``-separated, if it stays there on every system.

    Raises UnsafeName for an absolute or empty one, for ``.`` and ``..``, backslashes, control characters, a drive's
    letter, what is no UTF-8, and what is too long.
    """
    if not valid_path(name) or _DRIVE.match(name):
        raise UnsafeName(f"{name!r} cannot be the name of a file inside a folder")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise UnsafeName(f"{name!r} cannot be the name of a file: it is no UTF-8") from None
    if len(encoded) > _MOST_BYTES or any(len(part) > _MOST_COMPONENT_BYTES for part in encoded.split(b"/")):
        raise UnsafeName(f"{name[:80]!r}... cannot be the name of a file: it is too long")
    return name


def check_names(names: Iterable[str]) -> None:
    """Check the names of files that are to lie in one folder. Raises UnsafeName, also where one name stands twice or is
    a file and a folder of others."""
    seen: set[str] = set()
    for name in names:
        if check_name(name) in seen:
            raise UnsafeName(f"{name!r} is listed twice")
        seen.add(name)
    for name in seen:
        above = name
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in seen:
                raise UnsafeName(f"{above!r} is listed as a file and as a folder of other files")


def inside(folder: Path, name: str, field: str) -> Path:
    """Return where a file of that name lies below a folder.

    Raises BadInput, naming ``field``, for a name that `check_name` refuses, and where a link is in the way.
    """
    try:
        check_name(name)
    except UnsafeName as error:
        raise BadInput(
            field, name, f"{error}: nothing is written. Who may write the place that it comes from?"
        ) from None
    path = folder
    for part in name.split("/")[:-1]:
        path /= part
        if path.is_symlink():
            raise BadInput(field, name, f"{path} is a link, which could lead out of the folder: remove it.")
    return folder / name
