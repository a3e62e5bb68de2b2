"""The operator's environment."""

from __future__ import annotations

import pytest

from misstep.errors import BadInput
from misstep.spec.cluster import PodSettings
from misstep_operator.settings import read_settings

IMAGES = {
    f"MISSTEP_IMAGE_{service}": f"misstep-{service.lower()}:1"
    for service in ("PROBLEMS", "GENERATION", "VERIFICATION", "CREDIT", "TRAINING", "EVALUATION")
}


def test_settings_and_what_is_missing() -> None:
    found = read_settings({**IMAGES, "MISSTEP_WATCH_NAMESPACES": "a, b", "MISSTEP_RESYNC_SECONDS": "2.5"})
    assert (found.namespaces, found.resync_seconds, found.metrics_port) == (("a", "b"), 2.5, 8080)
    assert found.stage_metrics_port == 0
    assert not found.images["tracking"], "without its image no pod logs into trackers"
    assert read_settings({**IMAGES, "MISSTEP_STAGE_METRICS_PORT": "9090"}).stage_metrics_port == 9090
    with pytest.raises(BadInput, match="MISSTEP_IMAGE_CREDIT"):
        read_settings({name: value for name, value in IMAGES.items() if "CREDIT" not in name})
    with pytest.raises(BadInput, match="MISSTEP_RESYNC_SECONDS"):
        read_settings({**IMAGES, "MISSTEP_RESYNC_SECONDS": "soon"})


def test_a_lease_is_named_with_its_namespace() -> None:
    assert read_settings(IMAGES).lease is None
    assert read_settings({**IMAGES, "MISSTEP_LEASE": "home/misstep-operator"}).lease == ("home", "misstep-operator")
    for text in ("misstep-operator", "/misstep-operator", "home/", "a/b/c"):
        with pytest.raises(BadInput, match=r"MISSTEP_LEASE.*NAMESPACE/NAME"):
            read_settings({**IMAGES, "MISSTEP_LEASE": text})


def test_settings_of_all_stages_are_checked_at_the_start() -> None:
    def read(text: str) -> PodSettings:
        return read_settings({**IMAGES, "MISSTEP_STAGE_DEFAULTS": text}).stage_defaults

    assert read("") == read("{}") == PodSettings()
    found = read('{"imagePullSecrets": ["registry"], "sharedMemory": "8Gi"}')
    assert (found.image_pull_secrets, found.shared_memory) == (["registry"], 8192)
    for text, said in (
        ('{"nodeSelectr": {}}', r"stages\.defaults\.nodeSelectr: "),
        ('{"tolerations": [{"value": "a"}]}', r"stages\.defaults\.tolerations\[0\]: .*give key, or operator: Exists"),
        ('{"deadlineSeconds": "7200"}', r"stages\.defaults\.deadlineSeconds: 7200\. .*valid integer"),
        ('{"volumes": [{"mountPath": "/tmp", "secret": "a"}]}', r"stages\.defaults\.volumes\[0\]: .*choose another"),
        ("[]", r"stages\.defaults: \[\]\. "),
        ("{", r"stages\.defaults: \{\. Invalid JSON"),
    ):
        with pytest.raises(BadInput, match=rf"^MISSTEP_STAGE_DEFAULTS: {said}") as caught:
            read(text)
        assert "Correct it in the chart's values" in str(caught.value)
