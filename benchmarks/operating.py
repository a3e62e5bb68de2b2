"""The operator's cost and speed on a real API server: idle Experiments, and the time from one Job to the next.

    make cluster-build versitygw
    python benchmarks/operating.py [--idle 200 1000] [--runs 2]

Idle: the operator's resident memory, and the requests that it makes in a minute, with no Experiment and with so many
that are suspended. Latency: small Experiments run to their reports, and a watch notes when Jobs become complete and
when the Jobs appear that waited for them; stages are real, pods are processes. A stage's result may be seen in the
store before its Job is complete, and the next Job be there already: that counts as no wait at all.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
sys.path[:0] = [
    str(ROOT / folder) for folder in ("", "services", "operator")
]  # run as a file, it finds its own checkout

from tests.cluster.api import Api, Away, jobs  # noqa: E402
from tests.cluster.operating import LEASE, OPERATOR_ACCOUNT, SYSTEM, Operating, operating  # noqa: E402
from tests.store import servers  # noqa: E402

from cluster import life  # noqa: E402
from misstep_operator.observed import EXPERIMENT_LABEL, KEY_LABEL  # noqa: E402

MINUTE = 60.0


def requests_of_operator(audit_log: Path, since: int) -> tuple[Counter[str], int]:
    """Count the operator's requests by verb and resource, from a position in the log on; also return the log's end."""
    account = f"system:serviceaccount:{SYSTEM}:{OPERATOR_ACCOUNT}"
    with audit_log.open("rb") as file:
        file.seek(since)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    found: Counter[str] = Counter()
    for line in whole.splitlines():
        entry = json.loads(line)
        if entry["user"]["username"] == account and entry.get("objectRef"):
            found[f"{entry['verb']} {entry['objectRef']['resource']}"] += 1
    return found, since + len(whole)


def idle(world: Operating, audit_log: Path, count: int, seconds: float = MINUTE) -> tuple[float, Counter[str]]:
    """Create this many idle Experiments; return the operator's memory in MiB, and its requests in a period."""
    made = [suspended(world, number) for number in range(count)]
    if made:
        world.kubectl("apply", "-f-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
        for body in made:
            name = body["metadata"]["name"]
            world.wait(name, "suspension", lambda status: status.get("state") == "Suspended")
        time.sleep(5)
    _, place = requests_of_operator(audit_log, 0)
    time.sleep(seconds)
    found, _ = requests_of_operator(audit_log, place)
    return psutil.Process(world.operators[0].pid).memory_info().rss / 2**20, found


def suspended(world: Operating, number: int) -> dict[str, Any]:
    """A suspended Experiment whose model is never read."""
    made = world.experiment(f"idle-{number}", suspend=True, seeds=[number])
    made["spec"]["policy"]["model"] = {"hub": "organisation/name", "revision": "0" * 40}
    return made


class Waits:
    """Watches Jobs from its creation on, and records how long each waited after those that its stage needs."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._api = Api(kubeconfig)
        self._namespace = namespace
        self._complete: dict[tuple[str, str], float] = {}
        self._created: dict[tuple[str, str], tuple[float, list[str]]] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with suppress(Away):  # the API server ends with the measurement
            for event in self._api.events(jobs(self._namespace), timeoutSeconds="1800"):
                job, now = event["object"], time.monotonic()
                marks = job["metadata"].get("labels") or {}
                place = marks.get(EXPERIMENT_LABEL, ""), marks.get(KEY_LABEL, "")
                stage = json.loads(job["spec"]["template"]["spec"]["containers"][0]["args"][1])
                self._created.setdefault(place, (now, list(stage["inputs"].values())))
                if any(each["type"] == "Complete" for each in job["status"].get("conditions") or ()):
                    self._complete.setdefault(place, now)

    def seconds(self) -> list[float]:
        """Return the wait of each Job that needs others, 0 for one that existed before they were complete."""
        found = []
        for (name, _), (at, inputs) in self._created.items():
            ends = [self._complete[name, key] for key in inputs if (name, key) in self._complete]
            if ends:
                found.append(max(0.0, at - max(ends)))
        return found


def latencies(world: Operating, runs: int) -> list[float]:
    """Run Experiments; return the seconds that each Job waited after those that it needed."""
    waits = Waits(world.kubeconfig, world.namespace)
    for number in range(runs):
        world.apply(world.experiment(f"run-{number}", seeds=[number]))
        world.wait_for_state(f"run-{number}", "Succeeded", 900)
    return waits.seconds()


def main() -> None:
    """Start a control plane, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, nargs="*", default=[200], help="how many idle Experiments")
    parser.add_argument("--runs", type=int, default=2, help="Experiments of fifteen stages, one after another")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="misstep-operator-") as name:
        folder = Path(name)
        audit_log = folder / "audit.log"
        control_plane = life.up(folder / "state", with_node=False, audit_log=audit_log, follow=True)
        try:
            with (
                servers.versitygw(folder / "s3") as endpoint,
                operating(control_plane.kubeconfig, endpoint, folder) as world,
            ):
                world.start_operator(MISSTEP_RESYNC_SECONDS="10", MISSTEP_LEASE=LEASE)  # as the chart has it
                time.sleep(10)
                for count in sorted({0, *options.idle}):
                    memory, found = idle(world, audit_log, count)
                    said = ", ".join(f"{number} {what}" for what, number in sorted(found.items()))
                    print(f"{count} idle Experiments: {memory:.0f} MiB; {found.total()} requests a minute ({said})")
                if options.runs:
                    print(describe(latencies(world, options.runs)))
        finally:
            life.down(folder / "state")


def describe(found: list[float]) -> str:
    """Print how long Jobs waited after earlier ones."""
    slowest = quantiles(found, n=100, method="inclusive")[98] if len(found) > 1 else found[0]
    at_once = sum(wait == 0 for wait in found)
    text = f"median {median(found):.2f} s, p99 {slowest:.2f} s, most {max(found):.2f} s"
    return f"from Job to Job, {len(found)} times, {at_once} of them at once: {text}"


if __name__ == "__main__":
    main()
