"""Make glibc return unused memory to the kernel. Another C library is left alone."""

from __future__ import annotations

import contextlib
import ctypes

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_MAX_ARENAS, _MMAP_BYTES = 2, 128 << 10


def limit_arenas() -> None:
    """Limit the number of malloc arenas. Call it before any thread starts.

    Otherwise each thread that reads a store has an arena of its own, tens of MiB in all. The fixed threshold for mmap
    keeps large blocks out of the arenas: after a long list of Experiments glibc would raise it, and the arenas that
    then hold such blocks never shrink.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, _MAX_ARENAS)
        library.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def release_unused() -> None:
    """Return unused pages to the kernel."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
