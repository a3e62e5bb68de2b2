"""The images' Dockerfiles, as far as they can be checked without building; `make images` builds them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import images

ROOT = Path(__file__).parents[2]
FILES = {path.parent.name: path.read_text() for path in (ROOT / "images").glob("*/Dockerfile")}
each_file = pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())


def test_there_is_one_for_each_service_and_the_shared_base() -> None:
    assert set(FILES) == {*images.SERVICES, "torch"}


@each_file
def test_it_installs_by_hash_from_locks_that_are_there(text: str) -> None:
    for copied in re.findall(r"locks/([\w${}-]+)\.txt", text):
        for vllm in ("gpu", "cpu"):
            assert (ROOT / f"locks/{copied.replace('${VLLM}', vllm)}.txt").exists()
    for line in re.findall(r"(?:uv|uv/bin/)pip install[^&\n]*", text):
        assert "--require-hashes" in line or "/wheels/" in line, line


@each_file
def test_it_ends_as_the_user_of_the_pods(text: str) -> None:
    users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert not users or users[-1] == "65532:65532"  # without any it is that of the image below


@each_file
def test_its_base_can_be_given_and_its_labels_are_whole(text: str) -> None:
    first = re.search(r"^ARG (\w+)=\S+$", text, re.MULTILINE)
    assert first is not None
    assert f"FROM ${{{first.group(1)}}}" in text
    for label in ("title", "description", "version", "revision", "licenses"):
        assert f"org.opencontainers.image.{label}=" in text


def test_foundations_come_first_and_once() -> None:
    assert images.with_foundations(["credit", "training", "operator"]) == [
        "torch", "generation", "credit", "training", "operator",
    ]  # fmt: skip


def test_an_unknown_image_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        images.main(["trainng"])
    assert "no such image: trainng; there are operator" in capsys.readouterr().err
