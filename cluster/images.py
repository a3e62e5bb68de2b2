"""Make container images from a folder, without a registry or a container engine, reproducibly."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.places import ClusterError

BUSYBOX, PAUSE = "localhost/busybox:1", "localhost/pause:1"
_MEDIA = "application/vnd.oci.image"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_image(archive: Path, name: str, folder: Path, *, entrypoint: Sequence[str] = (), user: str = "") -> None:
    """Write an OCI archive with ``folder`` as its only layer; all files belong to root.

    Args:
        archive: file to write.
        name: with a tag, as in ``localhost/busybox:1``.
        folder: root of the file system.
        entrypoint: default command of containers.
        user: numeric user of containers; empty means root.
    """
    layer = _tar(folder)
    packed = gzip.compress(layer, 1, mtime=0)
    run = {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin"], "User": user, "WorkingDir": "/"}
    machine = {"architecture": _ARCHITECTURES[platform.machine()], "os": "linux"}
    config = _json({**machine, "config": run, "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}})
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": _described("config.v1+json", config),
            "layers": [_described("layer.v1.tar+gzip", packed)],
        }
    )
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    entry = {**_described("manifest.v1+json", manifest), "platform": machine, "annotations": names}
    index = _json({"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": [entry]})
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    blobs = {f"blobs/sha256/{_digest(blob)[7:]}": blob for blob in (config, packed, manifest)}
    with tarfile.open(archive, "w") as tar:
        for path, content in {**files, **blobs}.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def busybox_images(folder: Path) -> list[Path]:
    """Write the images that every node has, made from Debian's static busybox, and return their archives.

    One has the usual programs in /bin, the other is the pause container, which holds a pod's network.
    """
    program = shutil.which("busybox")
    if program is None:
        raise ClusterError("busybox is missing: the Debian package is busybox-static")
    root = folder / "busybox"
    for part in ("bin", "etc", "tmp"):
        (root / part).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy2(program, root / "bin/busybox")
    for name in ("cat", "echo", "env", "false", "id", "ls", "nc", "nslookup", "sh", "sleep", "test", "touch", "true"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    archives = [folder / "busybox.tar", folder / "pause.tar"]
    write_image(archives[0], BUSYBOX, root)
    write_image(archives[1], PAUSE, root, entrypoint=["/bin/busybox", "sleep", "2147483647"], user="65534")
    return archives


def _tar(folder: Path) -> bytes:
    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=plain)
    return content.getvalue()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _described(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": f"{_MEDIA}.{kind}", "digest": _digest(content), "size": len(content)}
