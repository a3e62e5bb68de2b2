"""Fetch external data and models to this machine."""

from __future__ import annotations

from pathlib import Path

from misstep.artifacts.digest import digest_path
from misstep.artifacts.model_cache import ModelCache
from misstep.errors import BadInput
from misstep.plan.frozen import External
from misstep.store.addresses import file_uri_path
from misstep.store.base import Entry, Store
from misstep.store.description import Storage
from misstep.store.disk import disk_errors
from misstep.store.inside import inside
from misstep.store.open import open_store


def fetch_external(role: str, external: External, storage: Storage, folder: Path, models: ModelCache) -> Path:
    """Return a local path of an external's bytes: the original path if they are on this machine, the node's cache for a
    model's folder in S3, otherwise a path below ``folder``.

    Raises BadInput if they are missing, cannot be fetched, or differ from those that the plan was made with.
    """
    field, uri = f"external {role}", external.uri
    if uri.startswith("hf://"):
        from misstep.stages.hub import fetch_model

        return fetch_model(field, uri)
    if uri.startswith("s3://"):
        return _from_s3(field, external, storage, folder / role, models if role.startswith("model") else None)
    path = file_uri_path(uri, field) if uri.startswith("file://") else Path(uri)
    _check(path, field, external)
    return path


def _check(path: Path, field: str, external: External) -> None:
    if external.digest.startswith("sha256:") and digest_path(path, field) != external.digest:
        raise BadInput(
            field,
            external.uri,
            "Its contents have changed since the plan was made: run the experiment again, or misstep upload if "
            "it "
            "is an uploaded copy.",
        )


def _from_s3(field: str, external: External, storage: Storage, folder: Path, models: ModelCache | None) -> Path:
    """Download an object, or all objects below a prefix. Endpoint and credentials are those of the storage."""
    parent, _, name = external.uri.rstrip("/").rpartition("/")
    own = inside(folder, name, field)
    store = open_store(storage.model_copy(update={"uri": parent}))
    found = [entry for entry in store.list(name) if entry.path == name or entry.path.startswith(f"{name}/")]
    if not found:
        raise BadInput(field, external.uri, "There is no such object or folder in the bucket.")

    def fill(target: Path) -> None:
        _download(store, found, name, target, field)
        _check(target, field, external)

    is_folder = all(entry.path != name for entry in found)
    if models is not None and is_folder and external.digest.startswith("sha256:"):
        cached = models.folder(external.digest, sum(entry.size for entry in found), fill)
        if cached is not None:
            return cached
    fill(own)
    return own


def _download(store: Store, found: list[Entry], name: str, target: Path, field: str) -> None:
    with disk_errors("scratch folder", str(target.parent)):
        target.parent.mkdir(parents=True, exist_ok=True)
    for entry in found:
        local = target if entry.path == name else inside(target, entry.path.removeprefix(f"{name}/"), field)
        store.download(entry.path, local, most=entry.size)
