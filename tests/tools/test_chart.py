"""The chart as an archive, and in a real registry."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helm_python import Chart, chart
from helm_python.registry import pull

from misstep import __version__
from tests.tools.registry import manifest, registry
from tools import chart as making
from tools import images

REPOSITORY = "https://example.com/team/misstep"


def test_it_is_linted_and_a_finding_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = making.prepared(tmp_path, None, None)
    assert making.lint(folder) == []
    (folder / "templates/pdb.yaml").write_text("{{ .Values.nothing.at.all }}")
    assert any("nil pointer" in finding for finding in making.lint(folder))
    monkeypatch.setattr(making, "CHART", folder)
    monkeypatch.setattr(making, "RELEASE", tmp_path / "release")
    assert making.main([]) == 1
    assert not (tmp_path / "release").exists()


def test_the_archive_says_where_its_images_and_its_source_are(tmp_path: Path) -> None:
    archive = making.package(making.prepared(tmp_path, "a.example.com/team", REPOSITORY), tmp_path / "release", 1)
    with Chart.load(archive) as found:
        about = found.metadata
        rendered = "\n".join(found.render({}, name="misstep", namespace="system").values())
    assert (about["home"], about["sources"]) == (REPOSITORY, [REPOSITORY])
    listed = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    assert [one["image"] for one in listed] == [
        f"a.example.com/team/misstep-{service}:{__version__}" for service in images.SERVICES
    ]
    assert all(one["image"] in rendered for one in listed)
    chart.expand(tmp_path / "unpacked", archive)
    values = (tmp_path / "unpacked/misstep/values.yaml").read_text().splitlines()
    ours = (making.CHART / "values.yaml").read_text().splitlines()
    assert [new for old, new in zip(ours, values, strict=True) if old != new] == ['  registry: "a.example.com/team"']


def test_a_chart_from_a_registry_is_the_one_that_was_pushed(tmp_path: Path) -> None:
    with registry(tmp_path) as host:
        place = f"{host}/team"
        digests = set()
        for name in ("one", "two"):  # packaged and pushed twice, it is the same
            (tmp_path / name).mkdir()
            archive = making.package(
                making.prepared(tmp_path / name, place, REPOSITORY), tmp_path / name / "release", 1_700_000_000
            )
            digests.add(making.push(archive, place))
        (digest,) = digests
        seen, found = manifest(host, "team/misstep", __version__)
        assert seen == digest
        assert found["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
        assert found["annotations"]["org.opencontainers.image.source"] == REPOSITORY
        pull(f"oci://{place}/misstep", destination=tmp_path, version=__version__, plain_http=True)
    pulled = tmp_path / f"misstep-{__version__}.tgz"
    assert pulled.read_bytes() == archive.read_bytes()
    assert making.lint(pulled) == []
