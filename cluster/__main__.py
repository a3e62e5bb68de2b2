"""Commands of the cluster: `python -m cluster --help`; docs/cluster.md says what they are for."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from cluster import built, life
from cluster.places import KUBECTL, STATE, ClusterError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
State = Annotated[Path, typer.Option("--state", help="Folder of the cluster.")]


@app.command()
def up(
    state: State = STATE,
    control_plane: Annotated[bool, typer.Option("--control-plane", help="No node: any user, a few seconds.")] = False,
    audit_log: Annotated[Path | None, typer.Option(help="File for the API server's log of requests.")] = None,
) -> None:
    """Start a cluster and print how to reach it."""
    begun = time.monotonic()
    cluster = life.up(state, with_node=not control_plane, audit_log=audit_log)
    print(f"# ready after {time.monotonic() - begun:.1f} s; kubectl is {KUBECTL}")
    if cluster.node:
        print(f"# pods reach this machine as {cluster.node.network.host}")
    print(f"export KUBECONFIG={cluster.kubeconfig}")


@app.command()
def down(state: State = STATE) -> None:
    """End a cluster and remove everything that it created."""
    life.down(state)


@app.command()
def load(images: list[str], state: State = STATE) -> None:
    """Load images into the node: OCI archives, or names of images in buildah or docker."""
    node = life.find(state).node
    if node is None:
        raise ClusterError(f"the cluster in {state} has no node")
    files = [Path(name) for name in images if Path(name).exists()]
    with tempfile.TemporaryDirectory(prefix="misstep-images-") as scratch:
        built_here = built.export([name for name in images if Path(name) not in files], Path(scratch))
        for found in [*files, *built_here]:
            node.load(found)


if __name__ == "__main__":
    try:
        app()
    except ClusterError as error:
        sys.exit(f"cluster: {error}")
