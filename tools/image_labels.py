"""The labels of images, by the names that the OCI gives them."""

from __future__ import annotations

from tools.checkout import Checkout

from misstep import __version__
from misstep.plan.kinds import KINDS

OCI = "org.opencontainers.image."
_DESCRIPTIONS = {
    "operator": "The operator that runs Experiments",
    "problems": "Stages that make the table of problems",
    "verification": "The stage that judges answers",
    "generation": "Stages that sample",
    "credit": "Stages that credit steps",
    "training": "Stages that check and train models",
    "evaluation": "Stages that count",
    "tracking": "The pod that logs into MLflow or Weights & Biases",
}


def labels(
    service: str, checkout: Checkout, base: str, base_digest: str | None, repository: str | None
) -> dict[str, str]:
    """Return the labels of an image.

    Args:
        base: the name of the image that the first layer comes from.
        base_digest: its digest; None for an image that no registry has.
        repository: address of the source code; None leaves out the labels that need it.
    """
    kinds = [kind.value for kind, of in KINDS.items() if of.image == service]
    found = {
        "title": f"misstep-{service}",
        "description": _DESCRIPTIONS[service] + (f": {', '.join(kinds)}" if kinds else ""),
        "version": __version__,
        "revision": checkout.revision,
        "created": checkout.created,
        "licenses": "Apache-2.0",
        "vendor": "Misstep",
        "base.name": base,
        "base.digest": base_digest,
        "source": repository,
        "documentation": repository and f"{repository}/blob/{checkout.commit or 'HEAD'}/docs/images.md",
    }
    return {OCI + name: value for name, value in found.items() if value}
