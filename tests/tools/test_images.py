"""The images' Dockerfiles, as far as they can be checked without building; `make images` builds them."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tools.engines import Buildah

from tools import images

ROOT = Path(__file__).parents[2]
FILES = {path.parent.name: path.read_text() for path in (ROOT / "images").glob("*/Dockerfile")}
each_file = pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())


def test_there_is_one_for_each_service_with_torch_for_their_base_and_for_all_others() -> None:
    assert set(FILES) == {*images.SERVICES, "torch", "slim"} - set(images.SLIM)


@each_file
def test_it_installs_by_hash_from_locks_that_are_there(text: str) -> None:
    for copied in re.findall(r"locks/([\w${}-]+)\.txt", text):
        for vllm, image in itertools.product(("gpu", "cpu"), images.SLIM):
            assert (ROOT / f"locks/{copied.replace('${VLLM}', vllm).replace('${IMAGE}', image)}.txt").exists()
    for line in re.findall(r"(?:uv|uv/bin/)pip install[^&\n]*", text):
        assert "--require-hashes" in line or "/wheels/" in line, line


def test_what_judges_answers_is_without_what_reads_and_compares_problems() -> None:
    found = {
        name: set(re.findall(r"^([\w-]+)==", (ROOT / f"locks/{name}.txt").read_text(), re.MULTILINE))
        for name in ("verification", "problems")
    }
    assert not found["verification"] & {"datasets", "pandas", "numpy", "rapidfuzz"}
    assert found["problems"] > found["verification"]


def test_what_logs_into_trackers_has_the_core_and_the_libraries_of_those_that_a_pod_reaches() -> None:
    found = {
        name: set(re.findall(r"^([\w-]+)==", (ROOT / f"locks/{name}.txt").read_text(), re.MULTILINE))
        for name in ("core", "tracking")
    }
    assert found["tracking"] > found["core"] | {"mlflow-skinny", "wandb", "pyarrow"}
    assert not found["tracking"] & {"torch", "pandas", "gradio"}


@each_file
def test_it_ends_as_the_user_of_the_pods(text: str) -> None:
    stages = [stage for stage in re.split(r"^FROM ", text, flags=re.MULTILINE) if " AS build\n" not in stage]
    users = re.findall(r"^USER (\S+)$", "".join(stages), re.MULTILINE)
    assert not users or users[-1] == "65532:65532"  # without any it is that of the image below


@each_file
def test_its_base_can_be_given(text: str) -> None:
    first = re.search(r"^ARG (\w+)=\S+$", text, re.MULTILINE)
    assert first is not None
    assert f"FROM ${{{first.group(1)}}}" in text


def test_foundations_are_arguments_of_their_dockerfiles() -> None:
    for service, below in images.STANDS_ON.items():
        assert f"FROM ${{{below.upper()}}}" in FILES[service]
    assert f"ARG BASE={images.base_of_dockerfiles()}\n" in FILES["slim"]
    for text in FILES.values():
        assert set(re.findall(r"^ARG BASE=(\S+)", text, re.MULTILINE)) <= {images.base_of_dockerfiles()}


def test_the_source_is_the_same_each_time_and_another_after_any_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.make_wheel(tmp_path / "here")
    images.make_wheel(tmp_path / "there")
    there = images.source(tmp_path / "there")
    assert images.source(tmp_path / "here") == there
    for folder in ("images", "locks"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(images, "ROOT", tmp_path)
    changed = [
        tmp_path / "images/slim/Dockerfile",
        tmp_path / "images/trim.sh",
        tmp_path / "locks/operator.txt",
        next((tmp_path / "there").glob("*.whl")),
    ]
    found = [images.source(tmp_path / "there")]
    for path in changed:
        path.write_bytes(path.read_bytes() + b"\n")
        found.append(images.source(tmp_path / "there"))
    assert found[0] == there
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("service", "program"),
    [("operator", "misstep-operator"), ("verification", "misstep"), ("evaluation", "misstep"), ("training", None)],
)
def test_an_image_has_its_lock_its_labels_and_its_program(
    service: str, program: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    engine = Buildah()
    monkeypatch.setattr(engine, "build", lambda options, _: commands.append([*options]))
    images.build(engine, service, {}, {"label": "its value"}, [])
    (command,) = commands
    assert command[command.index("--label") + 1] == "label=its value"
    given = dict(itertools.pairwise(command))
    if program is None:
        assert given["--file"] == f"images/{service}/Dockerfile"
        return
    assert given["--file"] == "images/slim/Dockerfile"
    assert f"PROGRAM={program}" in command
    assert f"IMAGE={service}" in command
    # The program is the entry point of the stage that bears its name.
    stage = FILES["slim"].partition(f" AS {program}\n")[2].partition("\nFROM ")[0]
    assert f'ENTRYPOINT ["{program}"]' in stage


def test_foundations_come_first_and_once() -> None:
    assert images.with_foundations(["credit", "training", "problems"]) == [
        "torch", "generation", "credit", "training", "verification", "problems",
    ]  # fmt: skip


def test_an_unknown_image_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        images.main(["trainng"])
    assert "no such image: trainng; there are operator" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("buildah") is None or os.geteuid() != 0, reason="needs buildah, and root for it")
def test_a_label_is_new_although_all_layers_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images/label-test").mkdir(parents=True)
    (tmp_path / "images/label-test/Dockerfile").write_text(
        'ARG PROGRAM=one\nFROM scratch AS one\nCOPY images /images\nENTRYPOINT ["/none"]\nFROM one AS two\n'
        'ENTRYPOINT ["/other"]\nFROM ${PROGRAM}\n'
    )
    monkeypatch.setattr(images, "ROOT", tmp_path)
    engine = Buildah()
    name = images.name_of(engine, "label-test")
    shown = f'{{{{index .OCIv1.Config.Labels "{images.SOURCE_LABEL}"}}}}'
    try:
        for source in ("one", "two"):
            images.build(
                engine, "label-test", {"PROGRAM": "one"}, {images.SOURCE_LABEL: source}, ["--isolation=chroot"]
            )
            asked = ["buildah", "inspect", "--type", "image", "--format", shown, name]
            assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip() == source
    finally:
        subprocess.run(["buildah", "rmi", name], check=False, capture_output=True)
