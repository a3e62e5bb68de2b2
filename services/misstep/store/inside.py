"""Turn a name from a store or a manifest into a path that stays inside one local folder.

Anyone who can write to a store chooses the names in it. All code that turns such a name into a path must use this
module.
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
    """A name that cannot be a file's inside a folder, or conflicts with the others. Its text says why."""


def check_name(name: str) -> str:
    """Return a ``/``-separated name if it is a file below the folder on every system.

    Raises UnsafeName for an absolute or empty name, for ``.`` and ``..``, backslashes, control characters, a drive
    letter, a name that is not UTF-8, and a name that is too long.
    """
    if not valid_path(name) or _DRIVE.match(name):
        raise UnsafeName(f"{name!r} cannot be the name of a file inside a folder")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise UnsafeName(f"{name!r} cannot be the name of a file: it is not UTF-8") from None
    if len(encoded) > _MOST_BYTES or any(len(part) > _MOST_COMPONENT_BYTES for part in encoded.split(b"/")):
        raise UnsafeName(f"{name[:80]!r}... cannot be the name of a file: it is too long")
    return name


def check_names(names: Iterable[str]) -> None:
    """Check the names of all files of one folder. Raises UnsafeName, also if a name is repeated or is both a file and a
    folder of other files."""
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
    """Return the path of a file of that name below a folder.

    Raises BadInput, naming ``field``, for a name that `check_name` refuses, and if the path contains a link.
    """
    try:
        check_name(name)
    except UnsafeName as error:
        raise BadInput(field, name, f"{error}: nothing is written. Check who can write to its source.") from None
    path = folder
    for part in name.split("/")[:-1]:
        path /= part
        if path.is_symlink():
            raise BadInput(field, name, f"{path} is a link, which could lead out of the folder: remove it.")
    return folder / name
