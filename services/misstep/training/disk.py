"""Errors of full disks, as raised by the libraries that write models."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from misstep.store.disk import full_disk_errors

_FULL = tuple(f"(os error {number})" for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_TORCH_WRITER = "inline_container.cc"


@contextmanager
def full_disk_is_named(folder: Path) -> Iterator[None]:
    """Convert errors of a full disk under the scratch folder into BadInput.

    safetensors writes in Rust and puts the system's error into its message; torch writes in C++ and reports only which
    check of its archive writer failed.
    """
    with full_disk_errors("MISSTEP_SCRATCH", str(folder)):
        try:
            yield
        except SafetensorError as error:
            if str(error).endswith(_FULL):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise
        except RuntimeError as error:
            if _TORCH_WRITER in str(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise
