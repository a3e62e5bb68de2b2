"""Keep glibc from holding on to memory that is no longer used; another C library is left alone."""

from __future__ import annotations

import contextlib
import ctypes

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE = 128 << 10


def few_heaps() -> None:
    """Set the allocator up; call this before there are threads.

    Each thread that asks a store would have a heap of its own, tens of MiB in all; and once a long list of Experiments
    was read, glibc would put such large pieces into its heaps, which then never shrink.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_ARENA_MAX, 2)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Return unused pages of the heaps to the kernel."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
