"""Someone whose text a command prints (a model, a store's writer, a pod) writes to the terminal of whoever looks.

Escape sequences set the clipboard (OSC 52), hide where a link leads (OSC 8), rewrite what stands on the screen, or turn
text around; markup of the library that draws tables does some of that too.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Group
from rich.live import Live
from rich.text import Text

from misstep.artifacts import paths
from misstep.artifacts.inspect import show
from misstep.cli.app import main
from misstep.cli.terminal import SafeConsole, plain_table, print_shown
from misstep.errors import BadInput, MisstepError
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan
from misstep.printable import printable, printable_json, printable_lines, printable_values
from misstep.runner.display import TextDisplay
from misstep.runner.events import Event
from misstep.runner.run_state import RunState
from misstep.runner.workdir import Workdir
from misstep.store.description import Storage
from misstep.store.open import open_store
from misstep_operator.api.parse import job_views
from tests.artifacts.making import frozen
from tests.cli.test_cluster import KEY, STAGES, Kubectl, kubectl
from tests.security.test_manifests import plant

__all__ = ["kubectl"]

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"
LINK = "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\"
C1 = "\x9b31m\x9d52;c;eA==\x9c"
BIDI = "\u202eexe.txt\u2066"
MARKUP = "[link=http://evil.example]done[/link][/nothing][bold :skull:"
ATTACK = f"a{CLIPBOARD}{LINK}{C1}{BIDI}{MARKUP}\x08\x7f\rb"
ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> bool:
    return ACTS.search(text) is None and "evil.example" in text


def test_the_attacks_act() -> None:
    assert len(ACTS.findall(ATTACK)) > 12


def test_an_artifacts_name_in_ls_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever may write a store says what a stage was called; `[/nothing]` alone ended the command before."""
    storage = Storage(uri=f"file://{tmp_path / 'store'}")
    stage, store = frozen(StageKind.SFT, {"what": ATTACK}, storage), open_store(storage)
    plant(store, stage.key, name=ATTACK, params=stage.params, summary={ATTACK: ATTACK})
    assert main(["artifacts", "ls", "--storage", storage.uri]) == 0
    assert harmless(capsys.readouterr().out)
    assert main(["artifacts", "show", stage.key, "--storage", storage.uri]) == 0
    out = capsys.readouterr().out
    assert harmless(out)
    assert json.loads(out) == show(store, stage.key), "JSON reads as the same data"


def test_a_name_of_an_object_in_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = Storage(uri=f"file://{tmp_path / 'store'}")
    stage, store = frozen(StageKind.SFT, {}, storage), open_store(storage)
    part = {"path": f"files/{C1}evil.example{BIDI}", "size": 1, "sha256": "0" * 64, "block": 0, "file": "model/x"}
    plant(store, stage.key, params={}, parts=[part])
    assert main(["artifacts", "verify", "--storage", storage.uri]) == 64
    assert harmless(capsys.readouterr().out)


def test_a_heartbeat_in_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage(uri=f"file://{tmp_path / 'store'}")
    stage = frozen(StageKind.SFT, {}, storage)
    workdir = Workdir.of("small")
    workdir.create()
    workdir.write_plan(Plan(experiment="small", stages=(stage,)))
    beat = {"shard": 0, "done": 1, "total": 2, "unit": ATTACK, "detail": {"warning": ATTACK}, "updated": 0.0}
    open_store(storage).put(paths.progress(stage.key, 0), json.dumps(beat).encode())
    assert main(["status", "small"]) == 0
    assert harmless(capsys.readouterr().out)


def test_what_a_stage_said_in_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model's output reaches a log through a library's warning; tabs and new lines stay."""
    monkeypatch.chdir(tmp_path)
    stage = frozen(StageKind.SFT, {})
    workdir = Workdir.of("small")
    workdir.create()
    workdir.write_plan(Plan(experiment="small", stages=(stage,)))
    workdir.log(stage.name, 0).write_bytes(f"one\ttwo\r\n{ATTACK}\n10%\r20%\n".encode())
    assert main(["logs", "small", stage.name]) == 0
    out = capsys.readouterr().out
    assert harmless(out)
    assert out.startswith("one\ttwo\n")
    assert out.endswith("10%\n20%\n"), "progress bars become lines"


def test_pods_logs_and_what_kubectl_says(kubectl: Kubectl, capfd: pytest.CaptureFixture[str]) -> None:
    """Anyone who may run a pod with the stage's labels in the namespace; kubectl prints logs as they are."""
    kubectl.has(state="Running", stages=STAGES)
    kubectl.answers("get", "pods", out="pod/one\n")
    kubectl.answers("logs", out=f"[pod/one] {ATTACK}\n", err=f"error: {ATTACK}\n", code=3)
    assert main(["logs", "small", "sample-d250-s0", "--namespace", "research"]) == 3
    out, err = capfd.readouterr()
    assert harmless(out)
    assert harmless(err)
    assert kubectl.asked()[-1][0] == "logs"


def test_a_status_in_a_cluster(kubectl: Kubectl, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever may write an Experiment's status, or a stage whose last words the operator took over."""
    stage = {"name": ATTACK, "key": KEY, "kind": "sft", "state": "done", "message": ATTACK}
    kubectl.has(state=ATTACK, why=ATTACK, stages=[stage])
    assert main(["status", "small", "--namespace", "research"]) == 0
    assert harmless(capfd.readouterr().out)
    assert main(["logs", "small", "evil.example", "--namespace", "research"]) == 64
    assert harmless(capfd.readouterr().err)


def test_a_servers_error_message(kubectl: Kubectl, capfd: pytest.CaptureFixture[str]) -> None:
    kubectl.answers("get", err=ATTACK, code=1)
    assert main(["status", "small", "--namespace", "research"]) == 1
    assert harmless(capfd.readouterr().err)


def test_errors_quote_harmlessly() -> None:
    assert harmless(str(MisstepError(ATTACK)))
    assert harmless(str(BadInput(ATTACK, ATTACK, ATTACK)))


LOG = """
import logging, sys
import structlog
from misstep.stages.logs import configure_logs
configure_logs()
text = sys.argv[1]
log = structlog.get_logger("misstep.x")
log.warning(text, value=text, inner={text: [text]}, path=ValueError(text))
logging.getLogger("transformers").error("said %s", text)
try:
    raise ValueError(text)
except ValueError:
    log.exception("failed")
"""


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_stages_own_log(form: str) -> None:
    """`kubectl logs` shows it raw. Exceptions quote what a model or a server said."""
    text = ATTACK.replace("\x00", "")
    done = subprocess.run(
        [sys.executable, "-c", LOG, text],
        env=os.environ | {"MISSTEP_LOG_FORMAT": form},
        capture_output=True,
        check=True,
    )
    said = done.stderr.decode()
    assert harmless(said)
    assert said.count("evil.example") >= 6
    if form == "json":
        assert [json.loads(line)["level"] for line in said.splitlines()] == ["warning", "error", "error"]


def test_a_pods_last_words_in_an_experiments_status() -> None:
    """The termination message is the pod's to write; the operator puts it into status and events."""
    name = "sft-0-1"
    labels = {"misstep.dev/key": "sft-0", "misstep.dev/attempt": "1"}
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": ATTACK}
    job = {"metadata": {"name": name, "labels": labels}, "status": {"conditions": [failed]}}
    ended = {"exitCode": 1, "message": ATTACK, "finishedAt": "2026-11-28T00:00:00Z"}
    marks = {"batch.kubernetes.io/job-name": name}
    pod = {"metadata": {"labels": marks}, "status": {"containerStatuses": [{"state": {"terminated": ended}}]}}
    for pods in ([pod], []):
        (view,) = job_views([job], pods)
        assert harmless(view.message)


def test_events_of_a_run() -> None:
    out = io.StringIO()
    display = TextDisplay(SafeConsole(file=out, width=200), RunState({"sft": KEY}, lambda key: []))
    more = {"code": 1, "error": ATTACK, "log": ATTACK, "rerun": ATTACK, "still_running": [ATTACK]}
    display.on_event(Event("stage-failed", 1.0, ATTACK, 0, more))
    display.on_event(Event("store-silent", 1.0, detail={"error": ATTACK}))
    display.on_event(Event("shard-retried", 1.0, ATTACK, 1, {"error": ATTACK}))
    display.on_event(Event("stage-committed", 1.0, ATTACK, None, {"seconds": 1.0, "summary": {"x": LINK[:20]}}))
    assert harmless(out.getvalue())


def test_rows_that_a_model_was_shown() -> None:
    out = io.StringIO()
    segment = {"loss": True, "name": ATTACK, "tokens": 1, "text": ATTACK}
    print_shown([{"row": 1, "tokens": 1, "segments": [segment]}], SafeConsole(file=out, width=200))
    assert harmless(out.getvalue())


TEXT = st.text(st.characters() | st.sampled_from("\x1b\x9b\x9d\x07\r\n\t[]/\\:\u202e")) | st.just(ATTACK)


@given(TEXT)
def test_no_text_acts_however_a_console_prints_it(text: str) -> None:
    out = io.StringIO()
    console = SafeConsole(file=out, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    table = plain_table(text, "more")
    table.add_row(text, Text(text))
    console.print(text, soft_wrap=True)
    console.print(Text.assemble(text, (text, "bold")), table)
    console.print(Group(table, text))
    assert ACTS.search(out.getvalue()) is None


def test_a_live_display_moves_the_cursor_and_its_text_does_not() -> None:
    """What is ours passes: a live display without its own sequences would fill the screen."""
    out = io.StringIO()
    console = SafeConsole(file=out, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    with Live(Text(f"{ATTACK}\n{ATTACK}"), console=console, auto_refresh=False) as live:
        live.refresh()
        live.refresh()
    text = out.getvalue()
    assert "\x1b[1A" in text
    assert ACTS.search(re.sub(r"\x1b\[(?:\?25[lh]|[0-9]*[AK])|\r", "", text)) is None


@given(TEXT)
def test_printable_is_that_and_keeps_lines_and_tabs(text: str) -> None:
    for made in (printable(text), printable_lines(text), printable_values({"x": [text]})["x"][0]):
        assert ACTS.search(made) is None
        assert printable(made) == made
        assert made.count("\t") == text.count("\t")
        assert made.count("\n") >= text.count("\n")
    assert ACTS.search(printable_json({text: text})) is None


@given(st.text(st.characters(codec="utf-8")))
def test_text_without_control_characters_is_left_alone(text: str) -> None:
    if ACTS.search(text) is None and "\ufffe" not in text and "\uffff" not in text:
        assert printable(text) == text
