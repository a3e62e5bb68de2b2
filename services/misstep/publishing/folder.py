"""The folder that is uploaded: a model or a data set, its card, the experiment, and a list of what Misstep wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misstep.artifacts.export import write_files
from misstep.artifacts.files import hash_file
from misstep.artifacts.manifest import read_own
from misstep.errors import BadInput, MisstepError
from misstep.evaluation.report_files import results_text
from misstep.evaluation.results import Results, read_results
from misstep.plan.planner import Plan
from misstep.publishing.choose import Choice, What
from misstep.publishing.facts import gather_facts
from misstep.publishing.model_card import model_card
from misstep.publishing.parts import EXPERIMENT_FILE
from misstep.publishing.shared_yaml import experiment_of, externals_of, shared_yaml
from misstep.store.base import Store

LIST_FILE = "misstep/files.json"
_SMALL = 10 << 20
"""The Hub keeps smaller files in git, if their names do not say otherwise; it knows those by git's own hash."""
_SHORTEST = 6


@dataclass(frozen=True)
class Request:
    """What is to be written.

    ``document`` is the Experiment as its file, which ``origin`` names, holds it. ``again`` is the command that goes on
    with a run, for messages. ``private`` are texts that may be in no file, each with what it is: a folder, a token.
    """

    plan: Plan
    choice: Choice
    document: dict[str, Any]
    origin: str
    repository: str
    licence: str | None = None
    base_model: str | None = None
    again: str = "misstep run"
    private: tuple[tuple[str, str], ...] = ()


def write_folder(store: Store, request: Request, folder: Path) -> None:
    """Write everything into a new folder.

    Raises:
        BadInput: a stage is not finished, the YAML has changed since the run, or there is nothing to write.
        Damaged: a stored file is not what its manifest says.
        MisstepError: a text would tell something private.
    """
    choice, plan = request.choice, request.plan
    experiment = experiment_of(request.document, plan, choice.stage.key, request.origin)
    manifest = read_own(store, choice.stage)
    if manifest is None:
        raise BadInput("stage", choice.stage.name, f"It is not finished. Go on with `{request.again}`.")
    results = _results(store, plan)
    if results is None and choice.what is What.MODEL:
        fix = (
            f"The report is not finished, so the card could not say what was measured. Go on with `{request.again}`. "
            f"`misstep artifacts export {choice.stage.key} --format model` gives the model alone."
        )
        raise BadInput("stage", plan.report.name, fix)
    facts = gather_facts(plan, experiment, choice, manifest, results)
    folder.mkdir(parents=True)
    if choice.what is What.MODEL:
        write_files(store, manifest, "model/", folder)
        card = model_card(facts, request.repository, request.licence, request.base_model)
    else:
        from misstep.publishing.data_card import data_card
        from misstep.publishing.rows import write_rows

        written = write_rows(store, choice, folder / "data")
        card = data_card(facts, request.repository, request.licence, written)
    comment = f"Misstep {facts.version} made {choice.stage.name} (key {choice.stage.key}) from this experiment."
    texts = {
        "README.md": card,
        EXPERIMENT_FILE: shared_yaml(request.document, externals_of(plan), comment),
    }
    for name, text in texts.items():
        _refuse_private(name, text, request.private)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / LIST_FILE).write_text(json.dumps(_listed(request, facts.version, folder), indent=1) + "\n", "utf-8")


def files_in(folder: Path) -> dict[str, Path]:
    """Return name in the repository -> file, sorted."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def identity(listed: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a list of files is of. A repository holds one such thing, in whichever version."""
    return tuple(listed.get(name) for name in ("what", "experiment", "arm", "size", "seed"))


def git_hash(path: Path) -> str:
    """Return the hash by which git knows a file."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest()


def _listed(request: Request, version: str, folder: Path) -> dict[str, Any]:
    choice = request.choice
    return {
        "format": 1,
        "what": choice.what.value,
        "experiment": request.plan.experiment,
        "arm": choice.point.arm if choice.what in (What.MODEL, What.PAIRS) else choice.point.from_arm,
        "size": choice.point.size,
        "seed": choice.point.seed,
        "stage": choice.stage.name,
        "key": choice.stage.key,
        "misstep": version,
        "files": {
            name: {"size": path.stat().st_size, "sha256": hash_file(path)}
            | ({"git": git_hash(path)} if path.stat().st_size < _SMALL else {})
            for name, path in files_in(folder).items()
        },
    }


def _results(store: Store, plan: Plan) -> Results | None:
    report = read_own(store, plan.report)
    text = None if report is None else results_text(store, report)
    return None if text is None else read_results(text)


def _refuse_private(name: str, text: str, private: Iterable[tuple[str, str]]) -> None:
    """Refuse a text that tells a place or a secret. The parts that make it leave such things out; this checks it."""
    for what, secret in private:
        if len(secret) >= _SHORTEST and secret in text:
            raise MisstepError(
                f"{name} would tell {what}, so nothing was written: take it out of the experiment's texts."
            )
