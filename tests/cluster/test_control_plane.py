"""The control plane by itself: it answers, applies pod security, writes its audit log, runs next to others, ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import life, processes
from cluster.life import kubectl
from cluster.places import ROOT, ClusterError
from tests.cluster.manifests import namespace, pod
from tests.eventually import eventually

pytestmark = pytest.mark.cluster


def test_the_api_server_answers(control_plane: Path) -> None:
    assert kubectl(control_plane, "get", "--raw=/readyz") == "ok"
    assert json.loads(kubectl(control_plane, "get", "--raw=/version"))["gitVersion"].startswith("v1.37.")


def test_a_pod_that_violates_restricted_is_refused(control_plane: Path) -> None:
    kubectl(control_plane, "create", "-f-", stdin=namespace("refusing"))
    kubectl(control_plane, "create", "-nrefusing", "-f-", stdin=pod("decent", "true"))
    with pytest.raises(ClusterError, match=r'violates PodSecurity "restricted.*runAsNonRoot'):
        kubectl(control_plane, "create", "-nrefusing", "-f-", stdin=pod("loose", "true", security={}))
    kubectl(control_plane, "delete", "namespace", "refusing", "--wait=false")


def test_the_audit_log_says_who_asked_for_what(control_plane: Path, audit_log: Path) -> None:
    kubectl(control_plane, "get", "secrets", "--namespace=kube-public", "--as=somebody", "--as-group=system:masters")
    entries = [json.loads(line) for line in audit_log.read_text().splitlines()]
    asked = [entry for entry in entries if entry.get("impersonatedUser", {}).get("username") == "somebody"]
    assert [(entry["verb"], entry["objectRef"]["resource"]) for entry in asked] == [("list", "secrets")]
    assert not any(entry["user"]["username"].startswith("system:kube-") for entry in entries)


def test_two_stand_side_by_side_and_end_without_a_trace(control_plane: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    second = life.up(state, with_node=False, follow=True)
    programs = [process for _, process in processes.running(state)]
    assert len(programs) == 4
    second.kubectl("create", "namespace", "second-only")
    assert "second-only" not in kubectl(control_plane, "get", "namespaces", "-oname")
    with pytest.raises(ClusterError, match=r"runs in .* already"):
        life.up(state, with_node=False)
    life.down(state)
    assert not any(map(processes.lives, programs))
    assert not state.exists()
    assert kubectl(control_plane, "get", "--raw=/readyz") == "ok"


def test_it_ends_when_the_process_that_it_follows_is_killed(control_plane: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from cluster import life;"
        "life.up(Path(sys.argv[1]), with_node=False, follow=True); print('up', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "state")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        programs = [process for _, process in processes.running(tmp_path / "state")]
        owner.kill()
    eventually(lambda: not any(map(processes.lives, programs)), 30)
    again = life.up(tmp_path / "state", with_node=False, follow=True)  # what was left is in nobody's way
    assert again.kubectl("get", "--raw=/readyz") == "ok"
    life.down(tmp_path / "state")


def test_a_start_that_fails_says_why_and_leaves_only_logs(control_plane: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"kube-apiserver ended with code 1(.|\n)*nowhere"):
        life.up(tmp_path / "state", with_node=False, audit_log=Path("/proc/nowhere/log"), follow=True)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["logs"]
