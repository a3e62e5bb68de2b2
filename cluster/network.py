"""Addresses of a node, and the link between this machine and the node's own network."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster.places import ClusterError

NUMBER = "number"
"""File in the node's folder with the number of its network."""
NODES = 10
"""The most nodes on one machine."""


@dataclass(frozen=True)
class Network:
    """Addresses of node ``number``, from 198.18.0.0/15, which is reserved for tests."""

    number: int

    @classmethod
    def of(cls, folder: Path) -> Network:
        """Return the network of the node in ``folder``."""
        return cls(int((folder / NUMBER).read_text()))

    @property
    def name(self) -> str:
        """Name of the link's end on this machine, and of the node's cgroup."""
        return f"misstep{self.number}"

    @property
    def peer(self) -> str:
        """Name of the link's end in the node."""
        return f"{self.name}n"

    @property
    def host(self) -> str:
        """Address at which pods reach this machine; the API server listens there."""
        return f"198.18.{self.number}.1"

    @property
    def node(self) -> str:
        return f"198.18.{self.number}.2"

    @property
    def services(self) -> str:
        return f"198.18.{100 + self.number}.0/24"

    @property
    def dns(self) -> str:
        return f"198.18.{100 + self.number}.10"

    @property
    def pods(self) -> str:
        return f"198.19.{self.number}.0/24"


def claim(folder: Path) -> Network:
    """Create the link with the first free number, for the node in ``folder``, with an address for its API server.

    A link's name is unique, which decides between two nodes that start at the same time.
    """
    for network in map(Network, range(NODES)):
        add = ["ip", "link", "add", network.name, "type", "veth", "peer", "name", network.peer]
        made = subprocess.run(add, check=False, capture_output=True, text=True)
        if made.returncode == 0:
            (folder / NUMBER).write_text(str(network.number))
            ip("link", "set", network.name, "alias", str(folder), "up")
            ip("address", "add", f"{network.host}/24", "dev", network.name)
            return network
        if "File exists" not in made.stderr:
            raise ClusterError(f"cannot make a network link: {made.stderr.strip()}")
    raise ClusterError(f"{NODES} nodes run on this machine already; `ip link show type veth` lists them")


def connect(network: Network, process: int) -> None:
    """Move the link's other end into the network of ``process``, and route the node's addresses there."""
    ip("link", "set", network.peer, "netns", str(process))
    for addresses in (network.services, network.pods):
        ip("route", "add", addresses, "via", network.node)


def owned(network: Network, folder: Path) -> bool:
    """Whether the number still belongs to the node in ``folder``, which may have died together with its link."""
    alias = Path("/sys/class/net", network.name, "ifalias")
    return not alias.exists() or alias.read_text().strip() == str(folder)


def remove(network: Network) -> None:
    """Remove the link, and with it its addresses and routes; it may be gone already."""
    subprocess.run(["ip", "link", "delete", network.name], check=False, capture_output=True)


def ip(*arguments: str) -> None:
    """Run `ip`; raise ClusterError with its message if it fails."""
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
