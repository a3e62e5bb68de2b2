"""Find the data and models that an experiment uses, and compute their digests: the I/O before planning."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from misstep.artifacts.digest import digest_path
from misstep.cost.architecture import Architecture, architecture_from, known_architecture
from misstep.datafiles.filekinds import refuse_other_kind
from misstep.errors import BadInput, MisstepError
from misstep.plan.frozen import External
from misstep.spec.experiment import Experiment
from misstep.spec.models import ModelRef
from misstep.spec.problems import APART, Problems, Source
from misstep.store.addresses import file_uri_path
from misstep.store.description import Storage
from misstep.store.open import open_store
from misstep.terms.formats import GENERATED

FILE_SUFFIXES = (".jsonl", ".parquet", ".json")
_NO_DATA = re.compile(r"^\.|config|tokenizer|info|state|^readme", re.IGNORECASE)
_PACKED = (".csv", ".tsv", ".gz", ".zst", ".bz2", ".xz", ".zip", ".arrow", ".txt")


def resolve(
    experiment: Experiment, data: Mapping[str, str] | None = None, models: Mapping[str, str] | None = None
) -> dict[str, External]:
    """Locate data and models and take their digests.

    Args:
        data: NAME -> local folder or file, from ``--data``.
        models: NAME -> local model folder, from ``--model``.

    Returns:
        role -> External: ``model``, ``model_teacher`` where a teacher runs here, and ``source_<split>`` for sources
        that are not generated.

        For an uploaded copy, the digest is the one that the experiment names. Stages check it; nothing is fetched here.

    Raises:
        BadInput: a path is missing, a source has no origin, a file is not data (a Git LFS pointer, a compressed file,
            one JSON array), all training problems are test problems, or the experiment does not use a NAME.
    """
    data, models = dict(data or {}), dict(models or {})
    problems = experiment.spec.problems
    sources = {"train": problems.train, "test": problems.test_source(), "validation": problems.validation}
    labels = {s.label for s in sources.values() if s is not None and s.format not in GENERATED}
    _refuse_unknown("--data", set(data) - labels, labels)
    refs = {"model": ("spec.policy.model", experiment.spec.policy.model)}
    if experiment.spec.teacher.model is not None:
        refs["model_teacher"] = ("spec.teacher.model.model", experiment.spec.teacher.model.model)
    names = {ref.name for _, ref in refs.values()}
    _refuse_unknown("--model", set(models) - names, names)
    externals = {role: _model(field, ref, models) for role, (field, ref) in refs.items()}
    for split, source in sources.items():
        if source is not None and source.format not in GENERATED:
            externals[f"source_{split}"] = _source(split, source, data.get(source.label))
    _refuse_one_set(problems, externals.get("source_train"), externals.get("source_test"))
    return externals


def _refuse_one_set(problems: Problems, train: External | None, test: External | None) -> None:
    """Refuse the same source for training and test: a problem in both counts as a test problem, so none would be left
    for training. If the test has a limit, the others are left."""
    if train is None or test is None or train.digest != test.digest or problems.test_source().limit is not None:
        return
    given = "not given" if problems.test is None else test.uri
    raise BadInput("spec.problems.test", given, f"Training takes the same problems ({train.uri}): {APART}.")


def _refuse_unknown(option: str, names: set[str], known: set[str]) -> None:
    if names:
        name = sorted(names)[0]
        fix = f"The experiment has: {', '.join(sorted(known))}." if known else "The experiment takes none."
        raise BadInput(f"{option} {name}=...", "no such name in the experiment", fix)


def _source(split: str, source: Source, override: str | None) -> External:
    where = override or source.path
    if where is None:
        if source.uri is not None and source.digest is not None:
            return External(uri=source.uri, digest=source.digest)
        if source.hub is None:
            raise BadInput(
                f"spec.problems.{split}",
                "neither path, hub nor uri",
                f"Give path: FOLDER, or hub with revision, or run with --data {source.label}=FOLDER.",
            )
        place = f"{source.hub}@{source.revision}#{source.config or ''}/{source.split or split}"
        return External(uri=f"hf://datasets/{place}", digest=f"hub:{place}")
    field = f"--data {source.label}" if override else f"spec.problems.{split}.path"
    path = _existing(Path(where).expanduser(), field, source.hub, f"--data {source.label}=FOLDER")
    found = split_path(path, source.split or split)
    if found is None:
        raise BadInput(field, str(path), _no_split(path, source.split or split))
    files = [found] if found.is_file() else [f for f in sorted(found.rglob("*")) if f.suffix in (".jsonl", ".parquet")]
    for file in files:
        refuse_other_kind(file)
    return External(uri=str(found.resolve()), digest=digest_path(found))


def split_path(path: Path, split: str) -> Path | None:
    """Return the file (or MATH's folder of files) that holds a split, or None."""
    if path.is_file():
        return path
    for candidate in (*(path / f"{split}{suffix}" for suffix in FILE_SUFFIXES), path / split):
        if candidate.exists():
            return candidate
    return None


def _no_split(folder: Path, split: str) -> str:
    """Say what a folder holds instead of the split, and what to do."""
    begin = f"The folder has no {split}.jsonl, {split}.parquet or folder {split}/"
    names = sorted(f for f in folder.rglob("*") if f.is_file() and len(f.relative_to(folder).parts) <= 2)
    data = [f for f in names if f.suffix in (*FILE_SUFFIXES, *_PACKED) and not _NO_DATA.search(f.name)]
    here = ", ".join(str(f.relative_to(folder)) for f in data[:8]) + (", ..." if len(data) > 8 else "")
    part = re.compile(rf"{re.escape(split)}[-_.]\d\d+\b")
    shards = [f for f in data if f.suffix in FILE_SUFFIXES and part.match(f.name)]
    quoted = shlex.quote(str(folder / split))
    if len(shards) > 1 and len({f.parent for f in shards}) == 1:
        pattern = f"{shlex.quote(str(shards[0].parent))}/{split}{shards[0].name[len(split)]}[0-9]*"
        move = f"mkdir {quoted} && mv {pattern} {quoted}/"
        return f"{begin}. It has {here}. Put the parts of the split into a folder: {move}"
    one = next(iter(shards or [f for f in data if f.stem.split(".")[0] == split] or data), None)
    there = f". It has {here}: name one in path, for example path: {one}" if one is not None else "; put one there"
    return f"{begin}{there}, or name the split with split."


def _model(origin: str, ref: ModelRef, models: Mapping[str, str]) -> External:
    where = models.get(ref.name) or ref.path
    if where is None:
        if ref.uri is not None and ref.digest is not None:
            return External(uri=ref.uri, digest=ref.digest)
        place = f"{ref.hub}@{ref.revision}"
        return External(uri=f"hf://{place}", digest=f"hub:{place}")
    field = f"--model {ref.name}" if ref.name in models else f"{origin}.path"
    path = _existing(Path(where).expanduser(), field, ref.hub, f"--model {ref.name}=FOLDER")
    if not (path / "config.json").is_file():
        raise BadInput(
            field,
            str(path),
            "This is no Hugging Face model folder: it has no config.json. Give the folder of a model.",
        )
    return External(uri=str(path.resolve()), digest=digest_path(path))


def architecture(external: External, storage: Storage, *, patient: bool = True) -> Architecture | None:
    """Read the shape of the model that `resolve` found: from the config.json of its folder (local or in a store) or,
    for the Hub, from the table of known models. None if there is neither, or if the store cannot be read.

    Args:
        storage: how to reach the store; the model's location is in its URI.
        patient: whether to wait long for a store that does not answer (``open_store``).
    """
    return shape_of(external, lambda uri: _config_of(uri, storage, patient))


def shape_of(external: External, read_config: Callable[[str], bytes]) -> Architecture | None:
    """Read the shape of a model as ``architecture`` does.

    Args:
        read_config: returns the ``config.json`` of the model at a URI that is not the Hub's; may raise OSError,
            ValueError and MisstepError.
    """
    if external.uri.startswith("hf://"):
        return known_architecture(external.uri.removeprefix("hf://").partition("@")[0])
    try:
        config = json.loads(read_config(external.uri))
    except (OSError, ValueError, RecursionError, MisstepError):
        return None
    name = external.uri.rstrip("/").rpartition("/")[2]
    if name == external.digest.removeprefix("sha256:"):  # an uploaded copy is stored under its digest
        name = name[:12]
    return architecture_from(name, config) if isinstance(config, dict) else None


def _config_of(uri: str, storage: Storage, patient: bool) -> bytes:
    if uri.startswith("s3://"):
        return open_store(storage.model_copy(update={"uri": uri}), patient=patient).get("config.json")
    folder = file_uri_path(uri) if uri.startswith("file://") else Path(uri)
    return (folder / "config.json").read_bytes()


def _existing(path: Path, field: str, hub: str | None, option: str) -> Path:
    if not path.exists():
        other = f" (the Hub's {hub} needs no folder)" if hub else ""
        raise BadInput(field, str(path), f"There is nothing at this path. Give one that exists, or {option}{other}.")
    return path
