"""Find Git LFS pointers: small text files in place of large files."""

from __future__ import annotations

from pathlib import Path

from misstep.errors import BadInput

_FIRST_LINE = b"version https://git-lfs.github.com/spec/v1"
"""The first line of every pointer: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""
_LONGEST = 1024
"""The most bytes of a pointer, by the specification."""


def is_pointer(file: Path) -> bool:
    """Return whether a file is a Git LFS pointer instead of the file itself."""
    if not file.is_file() or file.stat().st_size > _LONGEST:
        return False
    with file.open("rb") as stream:
        return stream.read(len(_FIRST_LINE)) == _FIRST_LINE


def check_no_pointer(file: Path, field: str) -> None:
    """Refuse a Git LFS pointer. Raises BadInput."""
    if is_pointer(file):
        raise BadInput(
            field,
            f"{file.name} is a Git LFS pointer, not the file itself ({file})",
            f"Fetch the files: git -C {file.parent} lfs pull.",
        )
