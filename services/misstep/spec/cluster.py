"""``spec.cluster``: how pods run in Kubernetes. Nothing here enters a stage's key or matters on one machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from misstep.spec.fields import Mebibytes, ObjectName, SpecModel
from misstep.spec.volumes import Volume, refuse_overlaps

LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
"""A label's value, where it is not empty, and the last part of its name
(https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set)."""

LabelName = Annotated[str, Field(min_length=1, max_length=317)]
"""An optional DNS prefix of 253, a slash, and 63."""
LabelValue = Annotated[str, Field(pattern=f"^({LABEL})?$", max_length=63)]


class Toleration(SpecModel):
    """A node taint that pods tolerate, with the field names of Kubernetes."""

    key: LabelName | None = None
    """The taint's key. Without it, `operator: Exists` tolerates every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """`Equal` compares `value`; `Exists` takes any."""
    value: LabelValue | None = None
    """The taint's value, for `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; by default any."""
    toleration_seconds: int | None = Field(default=None, ge=0, le=10**9)
    """For `NoExecute`: how long a pod may stay."""

    @model_validator(mode="after")
    def _consistent(self) -> Toleration:
        if self.key is None and self.operator != "Exists":
            raise ValueError("a toleration without key tolerates every taint: give key, or operator: Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists takes any value: remove value, or set operator to Equal")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds belongs to effect NoExecute: set it, or remove tolerationSeconds")
        return self


class EnvironmentVariable(SpecModel):
    """One environment variable, for example a proxy. Credentials belong in `spec.secrets`."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$", max_length=128)
    """The variable."""
    value: str = Field(max_length=4096)
    """Its value; text, so numbers are quoted."""


class PodSettings(SpecModel):
    """Settings of pods."""

    node_selector: dict[LabelName, LabelValue] = Field(default={}, max_length=32)
    """Labels that a node must have."""
    tolerations: list[Toleration] = Field(default=[], max_length=32)
    """Node taints that pods tolerate."""
    priority_class: ObjectName | None = None
    """Name of a PriorityClass."""
    runtime_class: ObjectName | None = None
    """Name of a RuntimeClass, for example `nvidia`."""
    service_account: ObjectName | None = None
    """Service account of the pods; by default the chart's for stages, which may do nothing in the cluster."""
    image_pull_secrets: list[ObjectName] = Field(default=[], max_length=16)
    """Names of the Secrets for pulling images."""
    env: list[EnvironmentVariable] = Field(default=[], max_length=64)
    """Further environment variables."""
    volumes: list[Volume] = Field(default=[], max_length=16)
    """Further volumes, for example the certificates that `spec.storage.caBundle` names."""
    shared_memory: Mebibytes | None = None
    """Size of `/dev/shm`, for example `8Gi`; it counts as the pod's memory. By default 1Gi if the stage has GPUs."""
    model_cache_claim: ObjectName | None = None
    """A PersistentVolumeClaim for models of the Hub and of the store, mounted at `/cache`; without one every pod
    downloads the models again."""
    labels: dict[LabelName, LabelValue] = Field(default={}, max_length=32)
    """Further labels of pods."""
    annotations: dict[LabelName, Annotated[str, Field(max_length=4096)]] = Field(default={}, max_length=32)
    """Further annotations of pods."""
    gpu_resource: str = Field(default="nvidia.com/gpu", pattern=r"^[-a-zA-Z0-9._/]{1,317}$")
    """The device plugin's resource name for a GPU."""
    ephemeral_storage: Mebibytes | None = None
    """Local disk that a pod requests, for temporary copies of models and checkpoints."""
    deadline_seconds: int | None = Field(default=None, ge=1, le=10**9)
    """The longest time that one Job may take; by default no limit."""

    @model_validator(mode="after")
    def _consistent(self) -> PodSettings:
        names = [variable.name for variable in self.env]
        if len(set(names)) < len(names):
            raise ValueError("env needs different names")
        refuse_overlaps(self.volumes)
        return self


class Cluster(SpecModel):
    """How pods run in a Kubernetes cluster, for all stages and for single kinds of stage. A field given for a kind
    replaces the one in `defaults`. Nothing here changes a result, or matters on one machine."""

    defaults: PodSettings = PodSettings()
    problems: PodSettings = PodSettings()
    inspect: PodSettings = PodSettings()
    synthesize: PodSettings = PodSettings()
    curate: PodSettings = PodSettings()
    sft: PodSettings = PodSettings()
    sample: PodSettings = PodSettings()
    verify: PodSettings = PodSettings()
    rft: PodSettings = PodSettings()
    credit: PodSettings = PodSettings()
    pairs: PodSettings = PodSettings()
    dpo: PodSettings = PodSettings()
    score: PodSettings = PodSettings()
    report: PodSettings = PodSettings()
    retries: int = Field(default=3, ge=0, le=100)
    """How often the pod of one shard may fail within a Job for a temporary reason. Evictions do not count. A training
    over several nodes fails as a whole, together with its Job: it gets `(retries + 1) x attempts` Jobs."""
    attempts: int = Field(default=3, ge=1, le=100)
    """How many Jobs a stage gets, one after another, before it counts as failed; more for a training over several nodes
    (`retries`)."""
    ttl_seconds_after_finished: int = Field(default=86_400, ge=60, le=10**9)
    """How long finished Jobs are kept, and with them the logs of their pods."""

    def pods(self, kind: str, beneath: PodSettings | None = None) -> PodSettings:
        """The settings of the pods of a kind (``sft``, ``sample``, ...). The kind's own fields override those of
        ``defaults``, and both override ``beneath``, the operator's settings for all Experiments."""
        found = beneath or PodSettings()
        for over in (self.defaults, getattr(self, kind)):
            found = found.model_copy(update={name: getattr(over, name) for name in over.model_fields_set})
        return found
