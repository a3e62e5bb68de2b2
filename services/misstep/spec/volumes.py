"""Volumes that the pods of stages mount in addition to their own folders."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, model_validator

from misstep.spec.fields import Mebibytes, ObjectName, SpecModel

MOUNT_PATH = r"^(/\.?[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)+$"
OWN_FOLDERS = ("scratch", "tmp", "cache", "dev", "proc", "sys")
"""Top-level folders that belong to the stage's container."""


class EmptyDirectory(SpecModel):
    """An empty folder on the node's disk, removed together with the pod."""

    size: Mebibytes | None = None
    """Its size limit; by default what the node has."""


class Volume(SpecModel):
    """One folder to mount: the keys of a ConfigMap or Secret as files, a claim, or an empty folder."""

    mount_path: str = Field(pattern=MOUNT_PATH, max_length=256)
    """The path at which stages see it, for example `/etc/misstep/ca`."""
    read_only: bool = True
    """Whether stages may only read it. An `emptyDir` needs `false`."""
    config_map: ObjectName | None = None
    """Name of a ConfigMap in the Experiment's namespace."""
    secret: ObjectName | None = None
    """Name of a Secret in the Experiment's namespace."""
    persistent_volume_claim: ObjectName | None = None
    """Name of a PersistentVolumeClaim in the Experiment's namespace; all pods of the kind mount it."""
    empty_dir: EmptyDirectory | None = None
    """An empty folder for each pod: `{}`, or `{size: 10Gi}`."""

    @model_validator(mode="after")
    def _consistent(self) -> Volume:
        sources = (self.config_map, self.secret, self.persistent_volume_claim, self.empty_dir)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("a volume has exactly one of configMap, secret, persistentVolumeClaim and emptyDir")
        if self.mount_path.split("/")[1] in OWN_FOLDERS:
            raise ValueError(f"mountPath {self.mount_path} is in a folder of the stage's container: choose another")
        if self.empty_dir is not None and self.read_only:
            raise ValueError("a read-only emptyDir stays empty: set readOnly: false")
        return self


def refuse_overlaps(volumes: list[Volume]) -> None:
    """Refuse two volumes with the same path, or one inside another."""
    folders = sorted(f"{volume.mount_path}/" for volume in volumes)
    # In sorted order, the paths inside a folder follow it directly.
    if any(inner.startswith(outer) for outer, inner in pairwise(folders)):
        raise ValueError("volumes need different mountPaths, none inside another")
