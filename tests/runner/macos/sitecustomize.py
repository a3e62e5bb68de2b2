"""Python as on macOS: a process that has this folder in PYTHONPATH meets nothing that only Linux has.

``fcntl`` is there on macOS, and is hidden from our own modules all the same: what a researcher needs on a laptop takes
no locks.
"""

from __future__ import annotations

import builtins
import os
import sys
import sysconfig
import types

ONLY_LINUX = (
    "copy_file_range", "eventfd", "fdatasync", "getrandom", "getresuid", "memfd_create", "pidfd_open", "posix_fadvise",
    "posix_fallocate", "sched_getaffinity", "sched_setaffinity", "setns", "splice", "unshare",
)  # fmt: skip
_import, _stat = builtins.__import__, os.stat


def importing(name, given=None, *others, **named):
    asks = str((given or {}).get("__name__", ""))
    if name == "fcntl" and asks.partition(".")[0] == "misstep":
        raise ModuleNotFoundError(f"no fcntl for {asks}", name="fcntl")
    return _import(name, given, *others, **named)


def hide(path):
    if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(("/proc/", "/sys/")):
        raise FileNotFoundError(2, "macOS has no such folder", str(path))


def stat(path, *others, **named):
    hide(path)
    return _stat(path, *others, **named)


def watch(event, arguments):
    if event in ("open", "os.listdir", "os.scandir"):
        hide(arguments[0])
    if event == "ctypes.dlsym" and arguments[1] == "prctl":
        raise AttributeError("macOS has no prctl")


sysconfig.get_config_vars()  # remembered: how this Python was built is in a file named after its platform
for attribute in ONLY_LINUX:
    if hasattr(os, attribute):
        delattr(os, attribute)
builtins.__import__ = importing  # type: ignore[assignment]
os.stat = stat
sys.addaudithook(watch)
sys.platform = "darwin"
proxies = types.ModuleType("_scproxy")  # what urllib asks for the proxies of macOS
vars(proxies).update(_get_proxies=dict, _get_proxy_settings=lambda: {"exclude_simple": False, "exceptions": []})
sys.modules["_scproxy"] = proxies
