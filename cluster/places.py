"""Paths of the cluster, and its error type."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "cluster"
BINARIES = Path(os.environ.get("MISSTEP_CLUSTER_BIN", ROOT / ".cache/cluster/bin"))
"""Folder of the programs that `make cluster-build` compiles."""
KUBEMULTI, KUBECTL = BINARIES / "kubemulti", BINARIES / "kubectl"
STATE = ROOT / ".cache/cluster/state"
"""Folder of the cluster that `make cluster` starts."""


class ClusterError(Exception):
    """The cluster cannot start or stop; the text tells the user why."""


def missing_binaries(*names: str) -> str:
    """Return what must be done before the programs with these names can run; empty if all are built."""
    missing = [name for name in names if not (BINARIES / name).exists()]
    return f"{', '.join(missing)} not built: run `make cluster-build` (needs Go)" if missing else ""
