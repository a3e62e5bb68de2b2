"""A real API server accepts the CustomResourceDefinition, and refuses the same Experiments as the rules do offline. It
also accepts the operator's Jobs."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cluster.places import KUBECTL
from misstep_operator.observed import KEY_LABEL
from tests.cluster.operating import await_crd
from tests.operator.crd_cases import BAD, GOOD, WRONG, experiment
from tests.operator.test_jobs import PLAN, job_of, stages

pytestmark = pytest.mark.cluster
Kubectl = Callable[..., subprocess.CompletedProcess[str]]
CRD = Path(__file__).parents[2] / "charts/misstep/files/crd.yaml"


@pytest.fixture(scope="module")
def run(control_plane: Path) -> Kubectl:
    """Run kubectl against a control plane that has the definition."""

    def call(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(KUBECTL), "--kubeconfig", str(control_plane), *argv]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)

    applied = call("apply", "-f", str(CRD))  # in a client's way, which keeps a copy in an annotation
    assert applied.returncode == 0, applied.stderr
    await_crd(control_plane)
    return call


def test_the_definition_has_no_fault(run: Kubectl) -> None:
    found = json.loads(run("get", "crd/experiments.misstep.dev", "-o", "json").stdout)
    conditions = {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}
    assert conditions.get("NonStructuralSchema", "False") == "False"
    assert conditions["NamesAccepted"] == "True"


def test_every_case_is_taken_or_refused_with_its_fix(run: Kubectl) -> None:
    cases = {f"case-{number}": case for number, case in enumerate(GOOD + BAD + WRONG)}
    text = "\n---\n".join(json.dumps(experiment(case, name)) for name, case in cases.items())
    tried = run("create", "--dry-run=server", "--validate=ignore", "-f", "-", stdin=text)
    taken = set(re.findall(r"^experiment\.misstep\.dev/(\S+) created", tried.stdout, re.MULTILINE))
    said = dict(re.findall(r'Experiment\.misstep\.dev "(\S+)" is invalid: (.*)', tried.stderr))
    assert {case.name for name, case in cases.items() if name in taken} == {case.name for case in GOOD}
    refused = {case.name: (case.said, said.get(name, "")) for name, case in cases.items() if name not in taken}
    assert {name: pair for name, pair in refused.items() if not pair[1] or pair[0] not in pair[1]} == {}


def test_jobs_of_every_kind_are_taken_as_they_are_written(run: Kubectl) -> None:
    jobs = {stage.key: job_of(stage) for stage in stages(PLAN).values()}
    for job in jobs.values():
        job["metadata"]["namespace"] = "default"
    text = "\n---\n".join(json.dumps(job) for job in jobs.values())
    tried = run("create", "--dry-run=server", "--validate=strict", "-o", "yaml", "-f", "-", stdin=text)
    assert tried.returncode == 0, tried.stderr
    taken = {found["metadata"]["labels"][KEY_LABEL]: found for found in yaml.safe_load_all(tried.stdout)}
    assert taken.keys() == jobs.keys()
    for key, job in jobs.items():
        pod, wanted = (each["spec"]["template"]["spec"] for each in (taken[key], job))
        assert [volume["name"] for volume in pod["volumes"]] == [volume["name"] for volume in wanted["volumes"]]
        assert pod["securityContext"] == wanted["securityContext"]


def test_an_experiment_shows_its_state(run: Kubectl) -> None:
    assert run("create", "-f", "-", stdin=json.dumps(experiment(GOOD[0], "shown"))).returncode == 0
    status = {"state": "Running", "runningStages": "sft-d250-s0", "progress": "3/40", "eta": "5 min", "message": ""}
    patch = ["patch", "exp", "shown", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status})]
    assert run(*patch).returncode == 0
    header, line = run("get", "exp").stdout.splitlines()
    assert header.split() == ["NAME", "STATE", "STAGES", "PROGRESS", "ETA", "MESSAGE", "AGE"]
    assert line.split()[:4] == ["shown", "Running", "sft-d250-s0", "3/40"]
    found = json.loads(run("get", "misstep", "-o", "json").stdout)["items"][0]
    assert found["status"] == status
    assert found["spec"]["credit"]["maxSteps"] == 20, "defaults are filled in where absence means nothing"
    assert (
        found["spec"]["policy"]["prompt"].keys() == {"template"}
        and "learningRate" not in found["spec"]["arms"][0]["sft"]
    )
    assert run("delete", "exp", "shown").returncode == 0


def test_an_unknown_field_is_named(run: Kubectl) -> None:
    document = experiment(GOOD[0], "unknown")
    document["spec"]["crdit"] = {}
    refused = run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(document))
    assert refused.returncode != 0
    assert 'unknown field "spec.crdit"' in refused.stderr


def test_fields_are_explained(run: Kubectl) -> None:
    said = run("explain", "experiment.spec.credit.rollouts").stdout
    text = "Rollouts per prefix: exactly for `full-scan`, at most for the others; at least `bestOf`."
    assert text in " ".join(said.split())
