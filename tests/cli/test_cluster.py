"""Commands with ``--namespace``: what they ask of kubectl, and what they say of its answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from misstep.cli.app import main
from misstep.cli.opened import Opened
from misstep.cli.push import document_of
from misstep.cli.track import experiment_of
from misstep.plan.planner import Plan
from misstep.runner.workdir import Workdir
from misstep.spec.load import check_document
from misstep.store.description import Storage
from tests.operator.crd_cases import VALID

KEY = "sample-0123456789abcdef0123"
STAGES: list[dict[str, Any]] = [
    {"name": "sft-d250-s0", "key": "sft-0123456789abcdef0123", "kind": "sft", "state": "done"},
    {"name": "sample-d250-s0", "key": KEY, "kind": "sample", "state": "running", "percent": 40},
]
MARKS = f"misstep.dev/experiment=small,misstep.dev/stage=sample-d250-s0,misstep.dev/key={KEY}"
PROGRAM = f"""#!{sys.executable}
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
with (folder / "asked").open("a") as asked:
    asked.write(json.dumps(sys.argv[1:]) + "\\n")
for words, out, err, code in json.loads((folder / "answers.json").read_text()):
    if set(words) <= set(sys.argv[1:]):
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(code)
sys.exit(f"unexpected: {{sys.argv[1:]}}")
"""


class Kubectl:
    """A program of that name that answers what it is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers: list[tuple[list[str], str, str, int]] = []
        program = folder / "kubectl"
        program.write_text(PROGRAM)
        program.chmod(0o755)

    def answers(self, *words: str, out: str = "", err: str = "", code: int = 0) -> None:
        """Give the answer to a command with these words in it."""
        self._answers.append((list(words), out, err, code))
        (self._folder / "answers.json").write_text(json.dumps(self._answers))

    def has(self, **status: Any) -> None:
        """Have an Experiment."""
        metadata = {"name": "small", "uid": "0b5c7d2e", "generation": 2}
        self.answers("get", "experiments.misstep.dev", out=json.dumps({"metadata": metadata, "status": status}))

    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self._folder / "asked").read_text().splitlines()]


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return Kubectl(tmp_path)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command on namespace research; (exit code, standard output, standard error), kubectl's with ours."""

    def call(*argv: str) -> tuple[int, str, str]:
        code = main([*argv, "--namespace", "research"])
        out, err = capfd.readouterr()
        return code, out, err

    return call


Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("options", "marks", "more"),
    [
        ([], MARKS, []),
        (["--follow"], MARKS, ["--follow", "--max-log-requests=7"]),
        (["--shard", "0"], f"{MARKS},batch.kubernetes.io/job-completion-index=0", []),
    ],
    ids=lambda value: " ".join(value) or "none" if isinstance(value, list) else "",
)
def test_logs_are_of_the_plans_own_pods(
    run: Run, kubectl: Kubectl, options: list[str], marks: str, more: list[str]
) -> None:
    kubectl.has(state="Running", stages=STAGES)
    kubectl.answers("get", "pods", out="".join(f"pod/sample-{number}\n" for number in range(7)))
    kubectl.answers("logs", out="[pod/sample-0/stage] at work\n")
    assert run("logs", "small", "sample-d250-s0", *options) == (0, "[pod/sample-0/stage] at work\n", "")
    _, pods, logs = kubectl.asked()
    assert pods == ["-n", "research", "get", "pods", "-l", marks, "-o", "name"]
    assert logs == ["logs", "-n", "research", "-l", marks, "--tail=-1", "--prefix", *more]


def test_logs_fail_as_kubectl_does(run: Run, kubectl: Kubectl) -> None:
    kubectl.has(state="Running", stages=STAGES)
    kubectl.answers("get", "pods", out="pod/sample-0\n")
    kubectl.answers("logs", err="Error from server: container is waiting to start\n", code=3)
    assert run("logs", "small", "sample-d250-s0") == (3, "", "Error from server: container is waiting to start\n")


def test_status_shows_warnings_of_finished_stages_beneath_the_table(run: Run, kubectl: Kubectl) -> None:
    warning = (
        "The policy of 250 problems (seed 0) solves 87% of its own [training] problems and 30% of validation ones."
    )
    short = "over-trained: 87% of own problems, 30% of others"
    kubectl.has(state="Running", stages=[STAGES[0] | {"message": warning}, STAGES[1] | {"message": short}])
    code, out, _ = run("status", "small")
    table, _, beneath = " ".join(out.split()).partition("warning: ")
    assert code == 0
    assert warning not in table and f"running 40%; {short}" in table
    assert beneath.startswith(f"{warning} small: 1 of 2 stages done")
    kubectl.has(state="Running", stages=[STAGES[0] | {"message": warning}])
    code, out, _ = run("status", "small", "--json")
    assert [row["warning"] for row in json.loads(out)["stages"]] == [warning, ""]


@pytest.mark.parametrize(
    ("status", "argv", "said"),
    [
        ({"stages": STAGES}, ["sample-d250-s0"], "It has no pods, or no longer. Stages that ran: sft-d250-s0, sample"),
        ({"stages": STAGES}, ["sample-d250-s0", "--shard", "9"], "Its shard 9 has no pods, or no longer."),
        ({"stages": STAGES}, ["sample-d25-s0"], "Did you mean sample-d250-s0?"),
        (
            {"state": "Invalid", "message": "spec.seeds: []."},
            ["sft-d250-s0"],
            "has no stages: Invalid: spec.seeds: [].",
        ),
    ],
)
def test_logs_that_are_not_there(
    run: Run, kubectl: Kubectl, status: dict[str, Any], argv: list[str], said: str
) -> None:
    kubectl.has(**status)
    kubectl.answers("get", "pods")
    code, _, err = run("logs", "small", *argv)
    assert (code, err.startswith(f"error: STAGE: {argv[0]}. ")) == (64, True)
    assert said in err


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"state": "Invalid", "message": "spec.seeds: []. Give one."},
            "Invalid: spec.seeds: []. Give one. There is no plan",
        ),
        ({}, "not seen by an operator yet. There is no plan of it: no ConfigMap small-plan-"),
    ],
)
def test_a_report_of_what_has_no_plan_says_how_it_stands(
    run: Run, kubectl: Kubectl, status: dict[str, Any], said: str
) -> None:
    kubectl.has(**status)
    kubectl.answers("get", "configmap", err='Error from server (NotFound): configmaps "x" not found\n', code=1)
    code, _, err = run("report", "small")
    assert (code, err.startswith(f"error: experiment: small. {said}")) == (64, True), err


def test_an_experiment_that_is_not_there_and_a_kubectl_that_does_not_work(run: Run, kubectl: Kubectl) -> None:
    missing = 'Error from server (NotFound): experiments.misstep.dev "small" not found'
    kubectl.answers("small", err=f"{missing}\n", code=1)
    plugin = "error: getting credentials: exec: executable gke-gcloud-auth-plugin not found"
    kubectl.answers("other", err=f"{plugin}\n", code=1)
    where = "`kubectl get experiments -n research` lists what is there."
    assert run("status", "small") == (64, "", f"error: experiment: small. {missing}. {where}\n")
    assert run("status", "other") == (1, "", f"error: kubectl: {plugin}\n")


def test_without_a_kubectl(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run("status", "small")
    assert (code, err) == (
        64,
        "error: kubectl: not found. Install it, or leave out --namespace to see runs of this machine.\n",
    )


@pytest.fixture
def valid(kubectl: Kubectl, tmp_path: Path) -> Opened:
    """An Experiment with trackers, as the cluster gives it: with metadata that no file has."""
    metadata = {"name": "valid", "uid": "0b5c7d2e", "generation": 2, "managedFields": [{"manager": "kubectl"}]}
    spec = VALID["spec"] | {"tracking": {"mlflow": {"uri": "http://mlflow.tracking:5000"}}}
    body = {**VALID, "metadata": metadata, "spec": spec, "status": {"state": "Running"}}
    kubectl.answers("get", "experiments.misstep.dev", out=json.dumps(body))
    made = Plan(experiment="valid", stages=())
    return Opened(Workdir(tmp_path), made, Storage(uri="s3://bucket/misstep"), "research")


def test_the_settings_that_a_tracker_shows_are_those_of_the_cluster(valid: Opened) -> None:
    experiment = experiment_of(valid, "valid")
    assert experiment.spec.tracking.names == ("mlflow",)
    assert experiment.spec.seeds == [0, 1]


def test_the_experiment_that_is_uploaded_is_that_of_the_cluster(valid: Opened) -> None:
    document, origin = document_of("valid", valid)
    assert origin == "valid"
    assert check_document(document, origin).spec.seeds == [0, 1]
