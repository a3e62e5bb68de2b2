"""First process of a node: started by cluster/node.py in its own process, network and mount namespaces.

    python -m cluster.inner FILE        FILE is JSON written by node.py: see ``Orders``

It makes the node's folders and addresses, starts the node's programs, and ends when one of them does. The kernel then
kills all remaining processes of the node and undoes its mounts, so the node cannot outlive this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from cluster.network import ip

SOCKET = Path("/run/containerd/containerd.sock")
KERNEL = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""Kernel settings that the kubelet needs, and would set for the whole machine: it sees files with these values
instead."""


class Orders(TypedDict):
    """The parts of the node: its folder, its end of the link, addresses, and the command of each program."""

    folder: str
    link: str
    address: str
    gateway: str
    dns: str
    programs: dict[str, list[str]]


def main() -> None:
    """Run the node until one of its programs ends."""
    orders: Orders = json.loads(Path(sys.argv[1]).read_text())
    _make_folders(Path(orders["folder"]))
    _make_addresses(orders)
    running: dict[int, str] = {}
    for name, command in orders["programs"].items():
        if name != "containerd":
            _wait_for(SOCKET.exists)
        with Path(orders["folder"], f"../logs/{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        running[process.pid] = name
    while True:  # orphans become children of the first process, which must reap them
        pid, status = os.wait()
        if pid in running:
            sys.exit(f"{running[pid]} ended with code {os.waitstatus_to_exitcode(status)}: see its log")


def _make_folders(folder: Path) -> None:
    """Mount folders of the node over the machine's, so that programs write to their usual paths, but into
    ``folder``."""
    _mount("--make-rshared", "/")  # volumes are mounted into containers; no mount propagates back to the machine
    (folder / "kernel").mkdir()
    for name, value in KERNEL.items():
        shown = folder / "kernel" / name.replace("/", "-")
        shown.write_text(value + "\n")
        _mount("--bind", str(shown), f"/proc/sys/{name}")
    for name in ("lib", "log"):
        (folder / name).mkdir()
        _mount("--bind", str(folder / name), f"/var/{name}")
    _mount("-t", "tmpfs", "tmpfs", "/run")


def _make_addresses(orders: Orders) -> None:
    link = orders["link"]
    _wait_for(lambda: f"{link}:" in Path("/proc/net/dev").read_text())
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{orders['address']}/24", "dev", link)
    ip("link", "set", link, "up")
    ip("route", "add", "default", "via", orders["gateway"])
    ip("address", "add", f"{orders['dns']}/32", "dev", "lo")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _wait_for(ready: Callable[[], bool]) -> None:
    while not ready():
        time.sleep(0.02)


if __name__ == "__main__":
    main()
