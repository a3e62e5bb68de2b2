"""Ties between processes of one machine. Standard library only."""

from __future__ import annotations

import ctypes
import os
import socket

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int, parent: int) -> None:
    """Ask the kernel to send signal ``number`` when the parent (of that pid) ends; exit at once if it has already
    ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def free_port() -> int:
    """Return a port of this machine on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_alive(pid: int) -> bool:
    """Return whether this machine has a process of that number, of any user."""
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
