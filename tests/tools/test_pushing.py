"""Images in a real registry: tags, digests, labels; and which checkouts may be pushed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tools.checkout import read_checkout
from tools.engines import Buildah, Docker, Engine, find_engine, on_this_machine

from misstep import __version__
from misstep.plan.kinds import KINDS
from tests.chart.rendering import objects
from tests.tools.registry import configuration, manifest, registry
from tools import checkout as checkouts
from tools import image_labels, images, pushing

REPOSITORY = "https://example.com/team/misstep"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with one commit, which the labels are made from."""
    root = tmp_path / "checkout"
    (root / "services").mkdir(parents=True)
    (root / "services/code.py").write_text("1\n")
    settings = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "."], [*settings, "commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    monkeypatch.setattr(checkouts, "ROOT", root)
    return root


@pytest.mark.parametrize("place", ["registry.example.com/team", "localhost:5000", "host:5000/a/b-c", "docker.io/team"])
def test_a_place_to_push_to(place: str, checkout: Path) -> None:
    assert pushing.refusal(place, read_checkout(), allow_dirty=False) is None


@pytest.mark.parametrize(
    "place",
    ["https://registry.example.com/team", "oci://a.b/c", "team", "a.b/C", "a.b/c:1", "a.b/c/", "a.b/c@sha256:1", ""],
)
def test_what_is_no_place_is_named_with_an_example(place: str, checkout: Path) -> None:
    why = pushing.refusal(place, read_checkout(), allow_dirty=True)
    assert why is not None
    assert f"--push {place}: " in why
    assert "registry.example.com/team" in why


def test_a_changed_file_keeps_everything_from_the_registry_unless_told(checkout: Path) -> None:
    clean = read_checkout()
    assert re.fullmatch(r"[0-9a-f]{40}", clean.revision)
    assert clean.tag == f"git-{clean.revision[:12]}"
    (checkout / "notes.txt").write_text("goes into no image\n")
    assert pushing.refusal("a.b/c", read_checkout(), allow_dirty=False) is None
    (checkout / "services/code.py").write_text("2\n")
    (checkout / "services/new.py").write_text("3\n")
    why = pushing.refusal("a.b/c", read_checkout(), allow_dirty=False)
    assert why is not None
    assert "services/code.py, services/new.py" in why
    assert "--allow-dirty" in why
    assert pushing.refusal("a.b/c", read_checkout(), allow_dirty=True) is None
    assert read_checkout().revision == f"{clean.revision}-dirty"
    assert read_checkout().tag == f"{clean.tag}-dirty"


def test_without_git_nothing_is_pushed_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkouts, "ROOT", tmp_path)
    assert "no git checkout" in (pushing.refusal("a.b/c", read_checkout(), allow_dirty=False) or "")
    assert pushing.refusal("a.b/c", read_checkout(), allow_dirty=True) is None
    assert read_checkout().committed_at == 0


def test_the_command_refuses_before_it_builds(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "services/code.py").write_text("2\n")
    with pytest.raises(SystemExit):
        images.main(["operator", "--push", "registry.example.com/team"])
    assert "not as the commit has them: services/code.py. Commit first" in capsys.readouterr().err


@pytest.mark.parametrize("service", images.SERVICES)
def test_labels(service: str, checkout: Path) -> None:
    found = image_labels.labels(service, read_checkout(), "python:3.11", "sha256:abc", REPOSITORY)
    names = {name.removeprefix("org.opencontainers.image.") for name in found}
    assert names == {
        "title", "description", "version", "revision", "created", "licenses", "vendor", "source", "documentation",
        "base.name", "base.digest",
    }  # fmt: skip
    assert all(found.values())
    runs = found["org.opencontainers.image.description"].partition(": ")[2]
    assert runs == ", ".join(kind for kind, of in KINDS.items() if of.image == service)
    again = image_labels.labels(service, read_checkout(), "python:3.11", None, None)
    assert found.keys() - again.keys() == {
        f"org.opencontainers.image.{name}" for name in ("source", "documentation", "base.digest")
    }


@pytest.mark.parametrize(
    ("remote", "found"),
    [
        ("https://example.com/team/misstep.git", REPOSITORY),
        ("git@example.com:team/misstep.git", REPOSITORY),
        ("ssh://git@example.com/team/misstep", REPOSITORY),
        ("https://token@example.com/team/misstep", None),
        ("/somewhere/here", None),
        (None, None),
    ],
)
def test_the_address_of_the_source_is_the_remotes(remote: str | None, found: str | None, checkout: Path) -> None:
    if remote:
        subprocess.run(["git", "remote", "add", "origin", remote], cwd=checkout, check=True)
    assert read_checkout().origin == found


@pytest.mark.parametrize(
    ("place", "here"),
    [("localhost:5000/a", True), ("127.0.0.1:1/a", True), ("a.b:5000/a", False), ("localhost.a.b/a", False)],
)
def test_only_a_registry_on_this_machine_may_lack_tls(place: str, here: bool) -> None:
    assert on_this_machine(place) is here


@pytest.fixture(params=[Buildah, Docker], ids=lambda engine: engine.program)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine that works here."""
    found: Engine = request.param()
    if found.program == "buildah" and (shutil.which("buildah") is None or os.geteuid() != 0):
        pytest.skip("needs buildah, and root for it")
    if found.program == "docker" and not isinstance(find_engine(), Docker):
        pytest.skip("no docker daemon answers")
    return found


@pytest.fixture
def image(engine: Engine, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A small image, with the labels of verification."""
    (tmp_path / "images/push-test").mkdir(parents=True)
    (tmp_path / "images/push-test/Dockerfile").write_text("FROM scratch\nCOPY images /images\n")
    monkeypatch.setattr(images, "ROOT", tmp_path)
    name = images.name_of(engine, "push-test")
    given = image_labels.labels("verification", read_checkout(), "scratch", None, REPOSITORY)
    images.build(engine, "push-test", {}, given, ["--isolation=chroot"] if engine.program == "buildah" else [])
    yield name
    subprocess.run([engine.program, "rmi", name], check=False, capture_output=True)


def test_what_is_pushed_has_two_tags_its_labels_and_one_digest(
    engine: Engine, image: str, checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with registry(tmp_path) as host:
        place = f"{host}/team"
        for _ in range(2):  # the second push changes nothing
            pushing.push_all(
                engine, dict.fromkeys(("operator", "verification"), image), place, read_checkout(), tmp_path / "release"
            )
        version, commit = __version__, read_checkout().tag
        digest, found = manifest(host, "team/misstep-verification", version)
        assert manifest(host, "team/misstep-verification", commit) == (digest, found)
        printed = capsys.readouterr().out.splitlines()
        assert printed.count(f"{place}/misstep-verification:{version}, also {commit}: {digest}") == 2
        made_of = configuration(host, "team/misstep-verification", digest)["config"]["Labels"]
        assert made_of["org.opencontainers.image.revision"] == read_checkout().revision
        assert made_of["org.opencontainers.image.description"] == "The stage that judges answers: verify"
        packed = sum(layer["size"] for layer in found["layers"])
        assert engine.packed_size(image) in (None, pytest.approx(packed, rel=0.05))
    listed = (tmp_path / "release/images.txt").read_text().splitlines()
    assert f"{place}/misstep-verification@{digest}" in listed
    assert len(listed) == 2
    values = yaml.safe_load((tmp_path / "release/values.yaml").read_text())
    (deployment,) = [found for found in objects(values) if found["kind"] == "Deployment"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"{place}/misstep-operator@{digest}"
    given = {one["name"]: one.get("value") for one in container["env"]}
    assert given["MISSTEP_IMAGE_VERIFICATION"] in listed
