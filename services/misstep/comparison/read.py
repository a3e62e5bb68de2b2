"""Read the results and the settings of an Experiment from a store, or its results alone from a file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from misstep.artifacts.inspect import find_key
from misstep.artifacts.manifest import Manifest, NotCommittedError, read_manifest
from misstep.artifacts.paths import split_key
from misstep.comparison.compared import Compared
from misstep.comparison.settings import Made, settings_of
from misstep.errors import BadInput
from misstep.evaluation.report_files import RESULTS, results_text
from misstep.evaluation.results import Results, read_results
from misstep.plan.planner import Plan
from misstep.store.base import Store

_MOST_BYTES = 64 << 20
_READERS = 16


def read_file(path: Path, name: str) -> Compared:
    """Read a results.json, whose settings are not known. Raises BadInput."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise BadInput("WHAT", str(path), f"It is too large for a {RESULTS}: name another file.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("WHAT", str(path), f"It cannot be read ({error}): name a {RESULTS}.") from error
    return Compared(name, _parsed(text, str(path)), None)


def read_report(store: Store, key: str, name: str, plan: Plan | None = None) -> Compared:
    """Read a committed report, and the settings of all stages that it came from.

    Args:
        plan: its plan. Without one, the stages' manifests are read; settings are not known if one of them is gone.

    Raises:
        NotCommittedError: there is no such report.
        Damaged: a file or a manifest is not what it should be.
        BadInput: its results cannot be read.
    """
    manifest = read_manifest(store, key)
    if manifest is None:
        raise NotCommittedError(key)
    text = results_text(store, manifest)
    if text is None:
        raise BadInput("WHAT", name, f"Its report {key} has no {RESULTS}: `misstep run` makes it again.")
    results = _parsed(text, name)
    stages = _ancestors(store, manifest) if plan is None else planned(plan)
    return Compared(name, results, None if stages is None else settings_of(stages), key)


def planned(plan: Plan) -> list[Made]:
    """Return the stages of a plan."""
    return [
        Made(
            stage.key,
            stage.kind,
            stage.params,
            stage.inputs,
            {role: external.digest for role, external in stage.externals.items()},
        )
        for stage in plan.stages
    ]


def reports_in(store: Store) -> list[Manifest]:
    """Return the manifests of all reports of a store, by key."""
    keys = {split[0] for entry in store.list("report-") if (split := split_key(entry.path)) is not None}
    return [manifest for key in sorted(keys) if (manifest := read_manifest(store, key)) is not None]


def report_key(store: Store, uri: str, beginning: str) -> str:
    """Return the key of the report of a store: the only one, or the one whose key begins so.

    Raises:
        BadInput: there is none; or there are several, which the error lists.
    """
    if beginning:
        return find_key(store, beginning if beginning.startswith("report-") else f"report-{beginning}")
    found = reports_in(store)
    if len(found) == 1:
        return found[0].key
    if not found:
        fix = "It holds no finished report. `misstep artifacts ls --storage URI` shows what it holds."
        raise BadInput("WHAT", uri, fix)
    listed = "\n".join(f"  {uri}#{one.key.removeprefix('report-')[:6]}  {_about(one)}" for one in found)
    raise BadInput("WHAT", uri, f"It holds {len(found)} reports. Name one of them:\n{listed}")


def _about(report: Manifest) -> str:
    """Describe a report on one line, by what tells reports of one store apart."""
    sizes = sorted({point["size"] for point in report.params["grid"]})
    arms = list(dict.fromkeys(point["arm"] for point in report.params["grid"]))
    return f"{report.params['title']}; {', '.join(arms)}; {', '.join(f'{size:,}' for size in sizes)} problems"


def _ancestors(store: Store, report: Manifest) -> list[Made] | None:
    """Return a report and all stages from which its inputs came, each once; None if one is not there any more."""
    stages = {report.key: report}
    found = [report]
    with ThreadPoolExecutor(_READERS) as pool:
        while found:
            wanted = dict.fromkeys(key for one in found for key in one.inputs.values() if key not in stages)
            read = list(pool.map(lambda key: read_manifest(store, key), wanted))
            found = [one for one in read if one is not None]
            if len(found) < len(read):
                return None
            stages |= {one.key: one for one in found}
    return [Made(one.key, one.kind, one.params, one.inputs, one.externals) for one in stages.values()]


def _parsed(text: str, where: str) -> Results:
    try:
        return read_results(text)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "the file"
        fix = (
            f"These are no results of this version of Misstep ({at}: {first['msg']}). Run the Experiment again with it."
        )
        raise BadInput("WHAT", where, fix) from error
