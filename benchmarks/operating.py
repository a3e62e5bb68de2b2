"""What the operator costs and how fast it is, on a real API server: idle Experiments, and from one Job to the next.

    make cluster-build versitygw
    PYTHONPATH=services:operator:. python benchmarks/operating.py [--idle 200] [--runs 2]

Idle: the operator's resident memory, and the requests that it makes in a minute, with no Experiment and with so many
that are suspended. Latency: small Experiments run to their reports, and a watch notes when a Job becomes complete and
when the next one of the same Experiment appears that waited for it alone; stages are real, pods are processes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median, quantiles

import lightkube
import psutil
from lightkube import KubeConfig
from lightkube.resources.batch_v1 import Job
from tests.artifacts import servers
from tests.cluster.operating import OPERATOR_ACCOUNT, SYSTEM, Operating, operating
from tests.cluster.world import NAMESPACE

from cluster import life
from misstep_operator.observed import EXPERIMENT_LABEL, STAGE_LABEL

MINUTE = 60.0


def requests_of_operator(audit_log: Path, since: int) -> tuple[Counter[str], int]:
    """Count the operator's requests by verb and resource, from a place in the log on; return also the log's end."""
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


def idle(world: Operating, audit_log: Path, count: int) -> None:
    """Print memory and requests of a minute, without and with idle Experiments."""
    operator = psutil.Process(world.operators[0].pid)
    for wanted in (0, count):
        for number in range(wanted):
            made = json.loads(json.dumps(world.experiment(f"idle-{number}", suspend=True, seeds=[number])))
            made["spec"]["policy"]["model"] = {"hub": "organisation/name", "revision": "0" * 40}
            world.kubectl("apply", "-f-", stdin=json.dumps(made))
        if wanted:
            world.wait(f"idle-{wanted - 1}", "suspension", lambda status: status.get("state") == "Suspended")
            time.sleep(5)
        _, place = requests_of_operator(audit_log, 0)
        time.sleep(MINUTE)
        found, _ = requests_of_operator(audit_log, place)
        said = ", ".join(f"{number} {what}" for what, number in sorted(found.items()))
        memory = operator.memory_info().rss / 2**20
        print(f"{wanted} idle Experiments: {memory:.0f} MiB; {found.total()} requests a minute ({said})", flush=True)


def latencies(world: Operating, runs: int) -> list[float]:
    """Run Experiments; return the seconds from a Job's completion to the next one that it released."""
    complete: dict[tuple[str, str], float] = {}
    created: list[tuple[str, str, float]] = []
    client = lightkube.Client(config=KubeConfig.from_file(str(world.kubeconfig)))

    def watch() -> None:
        seen: set[str] = set()
        for _, job in client.watch(Job, namespace=NAMESPACE, server_timeout=1800):
            now, marks = time.monotonic(), job.metadata.labels or {}
            place = (marks.get(EXPERIMENT_LABEL, ""), marks.get(STAGE_LABEL, ""))
            if job.metadata.name not in seen:
                seen.add(job.metadata.name)
                created.append((*place, now))
            if any(c.type == "Complete" for c in job.status.conditions or ()):
                complete.setdefault(place, now)

    threading.Thread(target=watch, daemon=True).start()
    for number in range(runs):
        world.apply(world.experiment(f"run-{number}", seeds=[number]))
        world.wait_for_state(f"run-{number}", "Succeeded", 900)
    found = []
    for name, stage, at in created:
        before = [end for (owner, other), end in complete.items() if owner == name and other != stage and end <= at]
        if before:
            found.append(at - max(before))
    return found


def main() -> None:
    """Start a control plane, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=200, help="idle Experiments")
    parser.add_argument("--runs", type=int, default=2, help="Experiments of fourteen stages, one after another")
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
                world.start_operator()
                time.sleep(10)
                idle(world, audit_log, options.idle)
                if options.runs:
                    report(latencies(world, options.runs))
        finally:
            life.down(folder / "state")


def report(found: list[float]) -> None:
    """Print how long Jobs waited for the one before."""
    slowest = quantiles(found, n=100)[98] if len(found) > 1 else found[0]
    text = f"median {median(found):.2f} s, p99 {slowest:.2f} s, most {max(found):.2f} s"
    print(f"from Job to Job, {len(found)} times: {text}")


if __name__ == "__main__":
    main()
