"""What options say about an experiment: which file, which folders of data and models, which store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from misstep.api import opening
from misstep.api.opening import absolute_uri, find_run, is_yaml, store_of, workdir_for
from misstep.cli.aside import aside
from misstep.cli.options import DEFAULT_STORE
from misstep.errors import BadInput

if TYPE_CHECKING:
    from misstep.api.experiment import Experiment
    from misstep.spec import Experiment as Document
    from misstep.store.description import Storage

__all__ = [
    "find_run",
    "is_yaml",
    "load",
    "named_folders",
    "note_on_stderr",
    "opened_file",
    "storage_from",
    "store_of",
    "workdir_for",
]


def named_folders(option: str, values: Sequence[str] | None) -> dict[str, str]:
    """Parse ``NAME=DIR`` options. Raises BadInput."""
    found: dict[str, str] = {}
    for value in values or ():
        name, equals, folder = value.partition("=")
        if not (name and equals and folder):
            raise BadInput(option, value, f"Write {option} NAME=DIR, with the name that the YAML uses.")
        if name in found:
            raise BadInput(option, value, f"{name} is given twice: give it once.")
        found[name] = folder
    return found


def note_on_stderr(text: str) -> None:
    """Print a note that is no part of a command's output."""
    aside(f"note: {text}")


def opened_file(
    file: Path,
    data: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    storage: str | None = None,
    work: Path | None = None,
) -> Experiment:
    """Open an Experiment by the options of a command. Raises BadInput."""
    from misstep.api.experiment import Experiment

    return Experiment.load(
        file,
        data=named_folders("--data", data),
        models=named_folders("--model", models),
        storage=storage,
        work=work,
        note=note_on_stderr,
    )


def load(file: Path, storage: str | None = None) -> Document:
    """Load an Experiment; a relative folder of its store is taken from the current folder. Raises BadInput."""
    return opening.load(file, storage, note_on_stderr)


def storage_from(
    uri: str | None, endpoint: str | None, region: str | None, path_style: bool, ca_bundle: str | None
) -> Storage:
    """Return the storage that command-line options describe."""
    from misstep.store.description import Storage

    return Storage(
        uri=absolute_uri(uri or DEFAULT_STORE),
        endpoint=endpoint,
        region=region,
        path_style=path_style,
        ca_bundle=ca_bundle,
    )
