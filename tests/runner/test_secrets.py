"""A credential of spec.secrets reaches stages by their environment and stands in no file that a run writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runner.small import YAML, misstep

VALUE = "hf_a-token-that-no-file-may-hold-0042"


def test_no_file_of_a_run_holds_a_secrets_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = YAML.rstrip() + "\n  secrets:\n    - {env: HF_TOKEN, secret: hub, key: token}\n"
    (tmp_path / "small.yaml").write_text(text)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    refused = misstep(tmp_path, "run", "small.yaml", "--only", "problems")
    assert refused.returncode == 64
    assert refused.stderr.startswith("error: spec.secrets[0].env: HF_TOKEN. ")
    monkeypatch.setenv("HF_TOKEN", VALUE)
    done = misstep(tmp_path, "run", "small.yaml", "--only", "problems", "--json")
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if VALUE.encode() in path.read_bytes()]
    assert VALUE not in done.stdout + done.stderr + refused.stderr
