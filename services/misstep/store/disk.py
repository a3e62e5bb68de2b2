"""Disk errors as messages that say what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from misstep.errors import BadInput, MisstepError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def disk_error(error: OSError, field: str, where: str) -> MisstepError:
    """Return an error that names the field to fix: BadInput for a full disk or missing permission, else a retryable
    error."""
    file = f" ({error.filename})" if error.filename else ""
    if error.errno in _FULL:
        fix = "Free some space (`misstep artifacts gc` shows what is no longer needed) or choose another place."
        return BadInput(field, where, f"The disk is full or a quota is used up{file}. {fix}")
    if error.errno in _DENIED:
        fix = "Give this user permission to read and write there, or choose another place."
        return BadInput(field, where, f"{error.strerror}{file}. {fix}")
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        return BadInput(field, where, f"{error.strerror}{file}. Choose another folder.")
    return MisstepError(f"{field}: {where}: {error.strerror or error}{file}")


def is_full_disk(error: MisstepError) -> bool:
    """Return whether ``disk_error`` made an error from a full disk."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL


@contextmanager
def disk_errors(field: str, where: str) -> Iterator[None]:
    """Convert every OSError of the block by ``disk_error``."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, field, where) from error


@contextmanager
def full_disk_errors(field: str, where: str) -> Iterator[None]:
    """Convert only the OSErrors of a full disk; others may have nothing to do with this disk."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_error(error, field, where) from error
        raise
