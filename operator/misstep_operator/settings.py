"""The operator's settings, from environment variables that the chart sets."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from misstep.errors import BadInput
from misstep.plan.kinds import IMAGES, KINDS, StageKind
from misstep.spec.cluster import PodSettings
from misstep.store.addresses import environments_endpoint
from misstep_operator.observed import MANAGER
from misstep_operator.policy.rules import PlatformPolicy, read_policy
from misstep_operator.stores.trust import ListedStore, Trust

STAGE_DEFAULTS = "MISSTEP_STAGE_DEFAULTS"
POLICY_RULES = "MISSTEP_POLICY_RULES"
LEASE = "MISSTEP_LEASE"
STORES = "MISSTEP_STORES"
TRACKING_IMAGE = "tracking"
"""The image of pods that log into trackers."""
_LISTED = TypeAdapter(tuple[ListedStore, ...])


@dataclass(frozen=True)
class Settings:
    """The operator's own settings."""

    images: Mapping[str, str]
    """Service -> image reference. Without one for ``TRACKING_IMAGE`` no pod logs into trackers."""
    pull_policy: str = "IfNotPresent"
    service_account: str = ""
    """Of the pods of stages. Empty for the namespace's default."""
    env_secret: str = ""
    """A Secret in the Experiment's namespace whose keys become environment variables of every stage."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch. Empty for all."""
    resync_seconds: float = 10.0
    metrics_port: int = 8080
    stage_metrics_port: int = 0
    """Port on which pods of stages serve metrics, 0 for none."""
    stage_defaults: PodSettings = field(default_factory=PodSettings)
    """Defaults of Experiments' ``spec.cluster``."""
    policy: PlatformPolicy = field(default_factory=PlatformPolicy)
    """What Experiments may name."""
    trust: Trust = field(default_factory=Trust)
    """Which stores the operator opens."""
    share_within_seconds: float = 86400.0
    """How long an Experiment waits for another one of its namespace that computes the same stage, ..."""
    share_between_seconds: float = 3600.0
    """... and for one of another namespace, where ``trust`` allows it."""
    identity: str = field(default_factory=socket.gethostname)
    lease: tuple[str, str] | None = None
    """Namespace and name of the Lease for leader election. None where there is one operator."""

    @property
    def writer(self) -> str:
        """The name under which this operator writes statuses."""
        return f"{MANAGER}/{self.identity}"[:128]

    def image(self, kind: StageKind) -> str:
        """Return the image for a kind of stage."""
        return self.images[KINDS[kind].image]


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read ``MISSTEP_*`` variables. Raises BadInput where one is missing or wrong."""
    images: dict[str, str] = {}
    for service in sorted(IMAGES):
        name = f"MISSTEP_IMAGE_{service.upper()}"
        images[service] = environment.get(name, "").strip()
        if not images[service]:
            raise BadInput(name, "not set", f"Name the image for {service} stages; the chart's `images` values do.")
    images[TRACKING_IMAGE] = environment.get(f"MISSTEP_IMAGE_{TRACKING_IMAGE.upper()}", "").strip()
    namespaces = environment.get("MISSTEP_WATCH_NAMESPACES", "")
    return Settings(
        images=images,
        pull_policy=environment.get("MISSTEP_IMAGE_PULL_POLICY") or "IfNotPresent",
        service_account=environment.get("MISSTEP_STAGE_SERVICE_ACCOUNT", ""),
        env_secret=environment.get("MISSTEP_STAGE_ENV_SECRET", ""),
        namespaces=tuple(name.strip() for name in namespaces.split(",") if name.strip()),
        resync_seconds=_number(environment, "MISSTEP_RESYNC_SECONDS", 10.0),
        metrics_port=int(_number(environment, "MISSTEP_METRICS_PORT", 8080)),
        stage_metrics_port=int(_number(environment, "MISSTEP_STAGE_METRICS_PORT", 0)),
        stage_defaults=_pod_settings(environment.get(STAGE_DEFAULTS, "")),
        policy=read_policy(environment.get(POLICY_RULES, ""), POLICY_RULES),
        trust=read_trust(environment),
        share_within_seconds=_number(environment, "MISSTEP_SHARE_WITHIN_SECONDS", 86400.0, least=0.0),
        share_between_seconds=_number(environment, "MISSTEP_SHARE_BETWEEN_SECONDS", 3600.0, least=0.0),
        identity=environment.get("MISSTEP_OPERATOR_IDENTITY") or socket.gethostname(),
        lease=_lease(environment.get(LEASE, "")),
    )


def read_trust(environment: Mapping[str, str] = os.environ) -> Trust:
    """Read the chart's ``stores`` from JSON, and the operator's own endpoint. Raises BadInput."""
    _, own = environments_endpoint(environment) or ("", "")
    text = environment.get(STORES, "")
    if not text.strip():
        return Trust(own_endpoint=own)
    try:
        return Trust(_LISTED.validate_json(text), own)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    fix = f"{first['msg'].removeprefix('Value error, ')}. Correct it in the chart's values."
    raise BadInput(f"{STORES}: stores{path}", first["input"], fix)


def _pod_settings(text: str) -> PodSettings:
    """Read the chart's ``stages.defaults`` from JSON."""
    if not text.strip():
        return PodSettings()
    try:
        return PodSettings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    fix = f"{message}. Correct it in the chart's values; the fields are those of spec.cluster."
    raise BadInput(f"{STAGE_DEFAULTS}: stages.defaults{path}", first["input"], fix)


def _lease(text: str) -> tuple[str, str] | None:
    if not text.strip():
        return None
    namespace, _, name = text.strip().partition("/")
    if not namespace or not name or "/" in name:
        raise BadInput(LEASE, text, "Write NAMESPACE/NAME of a Lease, or leave it out where there is one operator.")
    return namespace, name


def _number(environment: Mapping[str, str], name: str, default: float, least: float | None = None) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if least is not None:
        if not least <= value < math.inf:
            raise BadInput(name, text, f"Write a number of {least:g} or more.")
    elif not 0 < value < math.inf:
        raise BadInput(name, text, "Write a number above zero.")
    return value
