"""Shared code of the tests of faults: a small Experiment, the results of an undisturbed run, and checks that a
disturbed run has the same results, computed nothing twice, and left nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from cluster.life import kubectl
from misstep.artifacts import manifest as m
from misstep.store.base import Store
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.cluster.operating import SYSTEM, Operating
from tests.cluster.world import results
from tests.eventually import eventually
from tests.store import servers

ALL = os.environ.get("MISSTEP_FAULTS") == "all"
"""Whether the whole of every fault is wanted; the default run has shorter ones."""
SMALLER = {
    "arms": [{"name": "sft", "method": "sft"}],
    "problems__train__limit": 64,
    "training__sft__epochs": 1,
    "resources__sample": {"cpus": 1, "memory": "1Gi", "shards": 2, "blockRows": 4},
}
CHILDREN = "jobs,pods,configmaps,services"


def small(world: Operating, name: str, endpoint: str = "", **changes: Any) -> dict[str, Any]:
    """Seven stages, one of two shards, in a store of their own: nothing of it is done before."""
    uri = f"s3://{servers.BUCKET}/{name}"
    where = {"storage__uri": uri, "storage__endpoint": endpoint or world.endpoint}
    return world.experiment(name, **{**where, **SMALLER, **changes})


def at_least(stages: int) -> Callable[[Mapping[str, Any]], bool]:
    """Return a check that so many stages of a status are done."""
    return lambda status: int(status.get("completed", 0)) >= stages


class Undisturbed:
    """Runs Experiments on one machine, each spec once, and remembers their keys and what their reports found."""

    def __init__(self, world: Operating) -> None:
        self._world = world
        self._known: dict[str, tuple[set[str], dict[str, Any]]] = {}

    def of(self, document: dict[str, Any]) -> tuple[set[str], dict[str, Any]]:
        """Return the keys of an Experiment's stages, and the results."""
        what, folder = _spec(document), self.folder(document)
        if what not in self._known:
            folder.mkdir()
            (folder / "e.json").write_text(json.dumps(document))
            self._world.misstep("run", str(folder / "e.json"), "--storage", folder.as_uri(), "--quiet")
            keys = {each.parent.name for each in folder.glob("*/manifest.json")}
            (report,) = [key for key in keys if key.startswith("report-")]
            self._known[what] = keys, results(Storage(uri=folder.as_uri()), report, folder / "scratch")
        return self._known[what]

    def folder(self, document: dict[str, Any]) -> Path:
        """The folder that the run of an Experiment has for its store, once it has run."""
        return self._world.folder / f"undisturbed-{hashlib.sha256(_spec(document).encode()).hexdigest()[:12]}"


def _spec(document: dict[str, Any]) -> str:
    """What of an Experiment has a say in its results."""
    spec = {name: value for name, value in document["spec"].items() if name not in ("storage", "cluster")}
    return json.dumps(spec, sort_keys=True)


def store_of(world: Operating, name: str, endpoint: str = "") -> tuple[Store, Storage]:
    """The store of a ``small`` Experiment, reached without any proxy."""
    storage = servers.s3_storage(endpoint or world.endpoint, name)
    return open_store(storage), storage


def pods_of(world: Operating, name: str) -> list[tuple[dict[str, Any], Path]]:
    """All pods that ever ran for an Experiment, with their folders."""
    found = []
    for note in (world.folder / "pods").glob("*/pod.json"):
        pod = json.loads(note.read_text())
        if pod["metadata"]["labels"].get("misstep.dev/experiment") == name:
            found.append((pod, note.parent))
    return found


def blocks_computed(world: Operating, name: str) -> Counter[tuple[str, int]]:
    """How often each block (key and number) was computed to its end, from the logs of all pods that ever ran.

    A stage logs ``block finished`` or ``block finished by another process before`` right after it has put the block's
    receipt: the second computation of a block whose receipt was there would be in here.
    """
    found: Counter[tuple[str, int]] = Counter()
    for _, folder in pods_of(world, name):
        if not (folder / "log").exists():
            continue  # ended before its process began
        for line in (folder / "log").read_text(errors="replace").splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                if str(entry.get("event")).startswith("block finished"):
                    found[entry["stage"], entry["block"]] += 1
    return found


def processes_of(world: Operating, name: str, stage: str = "") -> list[psutil.Process]:
    """Processes that run in an Experiment's pods, or in those of one stage."""
    found = []
    for pod, folder in pods_of(world, name):
        wanted = stage in ("", pod["metadata"]["labels"]["misstep.dev/stage"])
        if wanted and (folder / "pid").exists():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(int((folder / "pid").read_text() or 0))
                born_before = process.create_time() <= (folder / "pid").stat().st_mtime + 1  # else a stranger's number
                if born_before and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def assert_same(
    world: Operating,
    undisturbed: Undisturbed,
    document: dict[str, Any],
    jobs: int | None = 1,
    endpoint: str = "",
    gaps: bool = False,
) -> None:
    """Show that an Experiment that has succeeded has the keys and results of an undisturbed run, and that no block was
    computed twice.

    Args:
        jobs: how many Jobs each stage has had, by the status and by the Jobs that are there; None where the fault
            makes more of them.
        endpoint: of the S3 server, where it is not the ground's.
        gaps: whether the fault may come between a block's receipt and the line that tells of it: it ends a stage's
            process, or takes from it the answer that the receipt is there.
    """
    name = document["metadata"]["name"]
    status = world.status(name)
    keys, expected = undisturbed.of(document)
    assert {entry["key"] for entry in status["stages"]} == keys
    store, storage = store_of(world, name, endpoint)
    report = next(entry["key"] for entry in status["stages"] if entry["kind"] == "report")
    assert results(storage, report, world.folder / f"scratch-{time.time_ns()}") == expected
    computed = blocks_computed(world, name)
    assert computed, "no pod's log tells of a block"
    assert not {block: times for block, times in computed.items() if times > 1}
    known = keys | {key for key, _ in computed}  # those from before an edit too
    receipts = {(key, block) for key in known for done in m.finished_blocks(store, key).values() for block in done}
    assert set(computed) <= receipts
    assert gaps or receipts <= set(computed), "a block whose computation no log tells of"
    if jobs is not None:
        attempts = {entry["name"]: entry.get("attempt", 0) for entry in status["stages"]}
        assert set(attempts.values()) == {jobs}, attempts
        by_key = Counter(job["metadata"]["labels"]["misstep.dev/key"] for job in world.jobs(name).values())
        assert set(by_key.values()) == {jobs}  # those of keys from before an edit too


def assert_nothing_left(world: Operating, name: str, endpoint: str = "") -> None:
    """Delete an Experiment and show that no child and no process outlives it; its data does."""
    store, _ = store_of(world, name, endpoint)
    committed = [entry.path for entry in store.list("") if entry.path.endswith("/manifest.json")]
    uid = world.get(name)["metadata"]["uid"]
    world.kubectl("delete", "experiment", name)

    def left() -> list[str]:
        found = json.loads(world.kubectl("get", CHILDREN, "-ojson"))["items"]
        names = [f"{each['kind']}/{each['metadata']['name']}" for each in found if belongs(each["metadata"], name, uid)]
        return names + [str(process) for process in processes_of(world, name)]

    eventually(lambda: not left(), 60, left)
    # What was being committed just then may have come after the look at them.
    assert set(committed) <= {entry.path for entry in store.list("") if entry.path.endswith("/manifest.json")}


def belongs(metadata: dict[str, Any], name: str, uid: str) -> bool:
    owners = {owner["uid"] for owner in metadata.get("ownerReferences") or ()}
    return uid in owners or (metadata.get("labels") or {}).get("misstep.dev/experiment") == name


@contextmanager
def operator(world: Operating, server: str = "", stores: Iterable[str] = (), **settings: str) -> Iterator[int]:
    """Have an operator at work in the block; yield its process id. Another that a test has started ends with it."""
    if "MISSTEP_LEASE" in settings:  # who held it in an earlier test was killed
        kubectl(world.kubeconfig, "delete", "lease", "--all", f"--namespace={SYSTEM}")
    process = world.start_operator(server, stores, **settings)
    try:
        yield process.pid
    finally:
        for each in world.operators:
            each.kill()
            each.wait()
        world.operators.clear()
