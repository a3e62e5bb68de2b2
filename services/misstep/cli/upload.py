"""``misstep upload``: copy data and models of this machine into a store, for a cluster that runs the experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import typer

from misstep.cli.aside import aside
from misstep.cli.experiments import load, named_folders
from misstep.cli.options import DataOption, FileArgument, ModelOption, StorageOption
from misstep.text import size_text

if TYPE_CHECKING:
    from misstep.artifacts.upload import Sent
    from misstep.plan.frozen import External
    from misstep.store.base import Store


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Prepare")(upload)


def upload(
    file: FileArgument,
    data: DataOption = None,
    model: ModelOption = None,
    storage: StorageOption = None,
) -> None:
    """Copy the local data and models of an experiment into a store, and print the YAML that names the copies.

    Files that the store has already are not sent again. The keys of stages stay the same as with the local folders.

    [dim]misstep upload my-experiment.yaml --storage s3://my-bucket/misstep | kubectl apply -f -[/dim]
    """
    from misstep.sources import resolve
    from misstep.spec.edit import changed
    from misstep.spec.load import read_document
    from misstep.spec.quoted import quoted_numbers
    from misstep.spec.rewrite import with_copies, yaml_text
    from misstep.store.open import open_store

    experiment = load(file, storage)
    externals = resolve(experiment, named_folders("--data", data), named_folders("--model", model))
    given = experiment.spec.storage
    store = open_store(given)
    store.check(write=True)
    copies: dict[str, tuple[str, str]] = {}
    for role, external in externals.items():
        local = _here(external)
        if local is not None:
            copies[role] = (_send(store, given.uri, role, local, external.digest), external.digest)
    aside(f"{len(copies)} of {len(externals)} are copies in {given.uri}; the others are fetched from where they are")
    document = read_document(file)
    document = changed(document, quoted_numbers(document))  # a cluster takes none in quotes
    print(yaml_text(with_copies(document, copies, given.uri)), end="")


def _here(external: External) -> Path | None:
    """Return the path of an external on this machine's disk, or None where it is elsewhere."""
    from misstep.store.addresses import file_uri_path

    if external.uri.startswith("file://"):
        return file_uri_path(external.uri)
    return None if "://" in external.uri else Path(external.uri)


def _send(store: Store, uri: str, role: str, local: Path, digest: str) -> str:
    """Copy one external, and return the copy's URI."""
    from misstep.artifacts.upload import upload as copy

    def report(sent: Sent) -> None:
        sizes = f"{size_text(sent.bytes)} of {size_text(sent.of_bytes)}"
        what = "sent" if sent.new else "there already"
        aside(f"{role}: {sent.files} of {sent.of_files} files, {sizes}: {sent.path} ({what})")

    path = copy(store, local, digest, report, role)
    return f"{uri.rstrip('/')}/{quote(path) if uri.startswith('file://') else path}"
