"""The synthesize stage against vLLM's own API server with a tiny real model on this machine's processor."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from misstep.errors import BadInput
from misstep.plan.kinds import StageKind
from tests.synthesis.parrot import SAYS, save_parrot
from tests.synthesis.running import endpoint, experiment, planned, rows_of, run, seeds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed (make vllm)"),
]
KEY = "sk-test"
START_SECONDS = 240


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parrot")
    save_parrot(folder, steps=300)
    return folder


@pytest.fixture(scope="module")
def server(parrot: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(parrot), "--served-model-name", "m",
        "--host", "127.0.0.1", "--port", str(port), "--api-key", KEY, "--dtype", "float32", "--enforce-eager",
        "--max-model-len", "4096", "--block-size", "32", "--no-enable-chunked-prefill",
        "--max-num-batched-tokens", "16384",
    ]  # fmt: skip
    log = parrot.parent / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + START_SECONDS
        while not _healthy(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None and time.monotonic() < until, log.read_text(errors="replace")[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _healthy(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_KEY", KEY)


def test_a_real_server_writes_checks_and_solves(server: str, tmp_path: Path) -> None:
    more = ", temperature: '0.1', maxNewTokens: 150, solutions: 3, minAgreementPercent: 60"
    made = planned(experiment(tmp_path, endpoint(server, more, apiKeyEnv="VLLM_KEY"), seeds(12), sizes="[1]"))
    manifest = run(made, StageKind.PROBLEMS, StageKind.SYNTHESIZE)
    drafts = rows_of(made, StageKind.SYNTHESIZE, "drafts", tmp_path)
    kept = [draft for draft in drafts if draft["kept"]]
    print(
        f"kept {len(kept)} of {len(drafts)}, left out: {manifest.summary['rejected']}, {manifest.summary['requests']}"
    )
    assert len(kept) >= 3, [(draft["reason"], draft["written"]) for draft in drafts]
    assert any(draft["written"] == SAYS for draft in kept) and {draft["gold"] for draft in kept} == {"2"}
    assert manifest.summary["tokens_estimated"] == 0 and not manifest.summary["retries"]
    # A byte is a token of this model, and the template adds the roles.
    first = next(draft for draft in drafts if draft["written"])
    assert manifest.summary["prompt_tokens"] > 1000 * len(drafts) and first["written"]
    curated = run(made, StageKind.CURATE).summary
    assert curated["problems"]["train"] == 1, "it says the same to everything"
    assert curated["teacher"]["rejected"]["duplicate"] >= len(kept) - 3

    again = planned(experiment(tmp_path, endpoint(server, more.replace("60", "50"), apiKeyEnv="VLLM_KEY"), seeds(12)))
    assert run(again, StageKind.SYNTHESIZE).summary["requests"]["asked"] == 0


def test_seeds_are_solved_under_their_own_gold(server: str, tmp_path: Path) -> None:
    rows = [*seeds(4), {"question": "Count two cats now", "answer": "2", "solution": "2\n#### 2"}]
    more = ", newProblemsPerSeed: 0, solutions: 2, temperature: '0.1', maxNewTokens: 150"
    made = planned(experiment(tmp_path, endpoint(server, more, apiKeyEnv="VLLM_KEY"), rows, sizes="[1]"))
    summary = run(made).summary
    train = [row for row in rows_of(made, StageKind.CURATE, "problems", tmp_path) if row["split"] == "train"]
    assert [row["question"] for row in train] == ["Count two cats now"]
    assert train[0]["solution"].endswith("#### 2") and summary["teacher"]["rejected"] == {"wrong": 4}


def test_what_a_real_server_refuses_is_named(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"apiKeyEnv": "VLLM_KEY"}
    longer = [{**row, "question": row["question"] + " Mind the cat." * 300} for row in seeds(2)]
    made = planned(experiment(tmp_path, endpoint(server, **given), longer))
    run(made, StageKind.PROBLEMS)
    with pytest.raises(BadInput, match=r"HTTP 400: .*4096"):
        run(made, StageKind.SYNTHESIZE)
    other = endpoint(server, **given).replace("model: m,", "model: nobody,")
    with pytest.raises(BadInput, match=r"HTTP 404: .*nobody"):
        run(planned(experiment(tmp_path, other, longer)), StageKind.SYNTHESIZE)
    monkeypatch.setenv("VLLM_KEY", "sk-wrong")
    with pytest.raises(BadInput, match="apiKeyEnv: HTTP 401"):
        run(planned(experiment(tmp_path, endpoint(server, **given), longer)), StageKind.SYNTHESIZE)
