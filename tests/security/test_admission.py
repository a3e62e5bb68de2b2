"""The API server refuses the same Experiments as the operator, by the chart's ValidatingAdmissionPolicy: attacks by
somebody who may create Experiments, before anything is there for the operator to see."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from cluster.places import KUBECTL
from misstep.errors import BadInput
from misstep_operator.planning import planning
from misstep_operator.policy import check
from misstep_operator.policy.rules import PlatformPolicy
from misstep_operator.settings import POLICY_RULES, read_settings
from tests.chart.rendering import CHART, objects
from tests.chart.test_render import operator_environment
from tests.cluster.fixtures import own_control_plane
from tests.cluster.operating import await_crd
from tests.operator.test_settings import IMAGES
from tests.security.policy_cases import ATTACKS, DEFAULT, HONEST, LOCKED, NOWHERE, RULES, Case, document, drawn, pods

pytestmark = pytest.mark.cluster
Kubectl = Callable[..., subprocess.CompletedProcess[str]]
OTHER = "free-2"
"""Where a release of its own works; the first one's rules allow what is honest there."""
VALUES = {"policy": {"rules": RULES}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run kubectl against a control plane of its own: other tests' Experiments are not to be judged by these rules."""
    with own_control_plane(tmp_path_factory.mktemp("admission")) as kubeconfig:

        def call(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
            command = [str(KUBECTL), "--kubeconfig", str(kubeconfig), *argv]
            return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)

        for name in (DEFAULT, LOCKED, NOWHERE, OTHER):
            assert call("create", "namespace", name).returncode == 0
        assert call("apply", "--server-side", "-f", str(CHART / "files/crd.yaml")).returncode == 0
        await_crd(kubeconfig)
        install(call, VALUES)
        yield call


def install(run: Kubectl, values: dict[str, Any]) -> None:
    """Install the admission policy of a release, and return once the API server judges by it."""
    found = [each for each in objects(values) if each["kind"].startswith("ValidatingAdmissionPolicy")]
    applied = run("apply", "--server-side", "-f-", stdin=yaml.safe_dump_all(found))
    assert applied.returncode == 0, applied.stderr
    assert "Warning" not in applied.stderr
    # A rule that nobody else makes shows that these are at work.
    probe = json.dumps(document(Case("", pods(serviceAccount="nobody-may")), "probe"))
    end = time.monotonic() + 60
    while "serviceAccount: nobody-may" not in run("create", "--dry-run=server", "-f-", stdin=probe).stderr:
        assert time.monotonic() < end
        time.sleep(0.5)


def apply_all(run: Kubectl, cases: list[Case]) -> dict[int, str]:
    """Number of each case that the API server refuses -> what it says."""
    text = "\n---\n".join(json.dumps(document(case, f"case-{i}")) for i, case in enumerate(cases))
    tried = run("create", "--dry-run=server", "--validate=ignore", "-f-", stdin=text)
    taken = {int(number) for number in re.findall(r"^experiment\.misstep\.dev/case-(\d+) created", tried.stdout, re.M)}
    said = dict(re.findall(r'"case-(\d+)" is forbidden: (.*)', tried.stderr))
    assert not re.search("is invalid", tried.stderr), tried.stderr
    refused = {i: said.get(str(i), "") for i in range(len(cases)) if i not in taken}
    assert all(refused.values()), [cases[i] for i, words in refused.items() if not words] or tried.stderr
    return refused


@functools.cache
def told() -> PlatformPolicy:
    """Return the policy that the chart tells the operator."""
    return read_settings({**IMAGES, POLICY_RULES: operator_environment(VALUES)[POLICY_RULES]}).policy


def judged(case: Case) -> list[BadInput]:
    made = document(case)
    return check.violations(planning.parse(made), case.namespace, made["metadata"]["labels"], told())


def test_every_attack_is_refused_and_honest_use_is_taken(run: Kubectl) -> None:
    refused = apply_all(run, ATTACKS + HONEST)
    assert {(ATTACKS + HONEST)[i].name: words for i, words in refused.items() if i >= len(ATTACKS)} == {}
    assert [case.name for i, case in enumerate(ATTACKS) if i not in refused] == []
    for i, words in refused.items():
        assert field_of(ATTACKS[i].field) in words, words
        assert any(str(each.value) in words for each in judged(ATTACKS[i])), words
        assert "cost" not in words, words


def field_of(path: str) -> str:
    """Name a field as a rule of the API server's does, which knows no positions."""
    found = re.sub(r"\[\d+\]", "[]", path)
    pod = re.fullmatch(r"spec\.cluster\.\w+\.(\w+)(.*)", found)
    return f"spec.cluster.*.{pod[1]}" if pod else found


def test_operator_and_api_server_agree_on_experiments_drawn_at_random(run: Kubectl) -> None:
    cases = drawn(150)
    refused = apply_all(run, cases)
    by_operator = {i: found for i, case in enumerate(cases) if (found := judged(case))}
    assert refused.keys() == by_operator.keys()
    assert 30 < len(refused) < 120
    for i, words in refused.items():
        assert any(field_of(each.field) in words and str(each.value) in words for each in by_operator[i]), words


def test_what_is_there_may_be_annotated_suspended_and_deleted_when_the_policy_changes(run: Kubectl) -> None:
    """And no more: its spec may not be changed to anything that breaks the rules."""
    made = document(Case("", pods(serviceAccount="team-a-writer"), namespace=LOCKED), "older")
    assert run("create", "-f-", stdin=json.dumps(made)).returncode == 0
    narrower = [{**RULES[0], "serviceAccounts": ["other"]}, *RULES[1:]]
    install(run, {"policy": {"rules": narrower}})
    where = (f"-n{LOCKED}", "experiment", "older")
    end = time.monotonic() + 30
    while run("patch", *where, "--type=merge", '-p={"spec": {"seeds": [1]}}', "--dry-run=server").returncode == 0:
        assert time.monotonic() < end, "an older Experiment is changed past the new rules"
        time.sleep(0.5)
    assert run("annotate", *where, "misstep.dev/retry=1").returncode == 0
    assert run("patch", *where, "--type=merge", '-p={"spec": {"suspend": true}}').returncode == 0
    resumed = run("patch", *where, "--type=merge", '-p={"spec": {"suspend": false}}')
    assert "spec.cluster.*.serviceAccount: team-a-writer" in resumed.stderr
    assert run("delete", *where).returncode == 0
    install(run, VALUES)


def test_a_release_for_some_namespaces_judges_no_others(run: Kubectl) -> None:
    teams = [
        {"namespaces": [f"t-{i}"], "secrets": [f"t-{i}-*"], "env": ["MY_*"], "labels": ["team"]} for i in range(64)
    ]
    values = {"policy": {"rules": teams}, "watchNamespaces": [OTHER], "fullnameOverride": "narrow"}
    found = [each for each in objects(values) if each["kind"].startswith("ValidatingAdmissionPolicy")]
    assert run("apply", "--server-side", "-f-", stdin=yaml.safe_dump_all(found)).returncode == 0
    probe = json.dumps(document(Case("", {}, namespace=OTHER), "probe"))
    end = time.monotonic() + 60
    try:
        while True:
            said = run("create", "--dry-run=server", "-f-", stdin=probe).stderr
            if "experiments-system-narrow" in said:
                break
            assert time.monotonic() < end, said
            time.sleep(0.5)
        assert "No rule of the platform's policy is for it" in said, said
        assert apply_all(run, [HONEST[0], HONEST[1]]) == {}
    finally:
        for each in found:
            run("delete", each["kind"], each["metadata"]["name"])


def test_the_api_server_finds_no_fault_in_its_rules(run: Kubectl) -> None:
    """Its type check knows the fields of Experiments, which are spelt right therefore."""
    end = time.monotonic() + 60
    while True:
        (found,) = json.loads(run("get", "validatingadmissionpolicy", "-ojson").stdout)["items"]
        status = found.get("status") or {}
        if status.get("observedGeneration") == found["metadata"]["generation"]:
            break
        assert time.monotonic() < end
        time.sleep(0.5)
    assert status.get("typeChecking", {}).get("expressionWarnings", []) == []
