"""Find what the platform's policy does not allow in an Experiment. Pure.

The API server makes the same checks by a ValidatingAdmissionPolicy (``admission.py``) when an Experiment is applied.
The operator checks again, since policies change and not every cluster has that object. The chart's settings for all
stages (``stages.defaults``) are not checked, since an administrator sets them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from misstep.errors import BadInput
from misstep.spec.cluster import Cluster, PodSettings
from misstep.spec.experiment import Experiment, SecretVariable
from misstep.spec.fields import SpecModel
from misstep.spec.teacher import TeacherEndpoint
from misstep_operator.policy.rules import (
    CERTIFICATE_FOLDERS,
    HUB_TOKEN,
    PROGRAM_FOLDERS,
    TUNING,
    PlatformPolicy,
    Rule,
    fits,
    is_guarded,
)

POD_FIELDS = tuple(name for name, info in Cluster.model_fields.items() if info.annotation is PodSettings)
"""``defaults``, and each kind of stage."""
QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"
"""Label of an Experiment that its Jobs get too."""
EVERY_TAINT = "*"
"""In place of the key of a toleration that has none."""


class PolicyViolation(BadInput):
    """An Experiment names something that the platform's policy does not allow. The text has a line for each."""

    def __init__(self, found: list[BadInput]) -> None:
        super().__init__(found[0].field, found[0].value, found[0].fix)
        if len(found) > 1:
            self.args = ("\n".join(str(one) for one in found),)


class Named(NamedTuple):
    """A name in an Experiment, such as that of a Secret."""

    rule: str
    """The field of a rule that lists the allowed names."""
    path: str
    value: str


def refuse(experiment: Experiment, namespace: str, labels: Mapping[str, str], policy: PlatformPolicy) -> None:
    """Raise PolicyViolation where `violations` finds any. The arguments are the same."""
    found = violations(experiment, namespace, labels, policy)
    if found:
        raise PolicyViolation(found)


def violations(
    experiment: Experiment, namespace: str, labels: Mapping[str, str], policy: PlatformPolicy
) -> list[BadInput]:
    """Return what the policy does not allow, and who can allow it.

    Args:
        namespace: the Experiment's namespace, according to the API server.
        labels: labels of the Experiment.
    """
    held = policy.rule(namespace)
    if held is None:
        fix = (
            "No rule of the platform's policy is for it: ask who runs Misstep to name it in policy.rules of the chart."
        )
        return [BadInput("metadata.namespace", namespace, fix)]
    number, rule = held
    spec, found = experiment.spec, []
    for each in _named(experiment, labels):
        if not fits(each.value, getattr(rule, each.rule)):
            found.append(BadInput(each.path, each.value, _fix(each.rule, number, rule)))
    for path, variable in _variables(spec.cluster):
        if not fits(variable, TUNING) and (is_guarded(variable) or not fits(variable, rule.env)):
            found.append(BadInput(path, variable, _env_fix(variable, number, rule)))
    endpoint = spec.teacher.endpoint
    key = endpoint.api_key_env if endpoint else None
    for i, secret in enumerate(spec.secrets):
        if not may_hold_secret(secret.env, key, rule):
            found.append(BadInput(f"spec.secrets[{i}].env", secret.env, _secret_fix(secret.env, number)))
    found += _paths(experiment)
    if endpoint is not None:
        found += _teacher(endpoint, spec.secrets, number, rule)
    return found


def may_hold_secret(variable: str, teacher_key: str | None, rule: Rule) -> bool:
    """Return whether a variable may hold a Secret: the Hub's token, a teacher's key, or one that the rule names.

    A tuning variable may not, since a wrong value of it is printed.
    """
    if is_guarded(variable) or fits(variable, TUNING):
        return False
    return variable in (HUB_TOKEN, teacher_key) or fits(variable, rule.env)


def entry_for(url: str) -> str | None:
    """Return the name of the entry in a Secret for a teacher's key: the URL's host, with a port ``host_port``.

    None where no entry can have that name.
    """
    found = re.fullmatch(r"https?://([A-Za-z0-9.-]+)(?::([0-9]+))?(/.*)?", url, re.DOTALL)
    if found is None:
        return None
    host, port = found[1].lower(), found[2]
    return f"{host}_{port}" if port else host


def _pods(cluster: Cluster) -> Iterator[tuple[str, PodSettings]]:
    for name in POD_FIELDS:
        yield f"spec.cluster.{name}", getattr(cluster, name)


def _variables(cluster: Cluster) -> Iterator[tuple[str, str]]:
    for path, pod in _pods(cluster):
        for i, variable in enumerate(pod.env):
            yield f"{path}.env[{i}].name", variable.name


_OF_PODS: tuple[tuple[str, str, Callable[[Any], str | None]], ...] = (
    ("service_accounts", "service_account", str),
    ("priority_classes", "priority_class", str),
    ("runtime_classes", "runtime_class", str),
    ("tolerations", "tolerations", lambda toleration: toleration.key or EVERY_TAINT),
    ("node_labels", "node_selector", str),
    ("secrets", "image_pull_secrets", str),
    ("secrets", "volumes", lambda volume: volume.secret),
    ("config_maps", "volumes", lambda volume: volume.config_map),
    ("claims", "volumes", lambda volume: volume.persistent_volume_claim),
    ("claims", "model_cache_claim", str),
    ("labels", "labels", str),
    ("annotations", "annotations", str),
    ("gpu_resources", "gpu_resource", str),
)
"""Field of a rule, field of the pod settings with the names, and how to get the name from an item."""


def _named(experiment: Experiment, labels: Mapping[str, str]) -> Iterator[Named]:
    spec = experiment.spec
    for path, pod in _pods(spec.cluster):
        for rule, field, name in _OF_PODS:
            given = getattr(pod, field) if field in pod.model_fields_set else None
            whole = f"{path}.{_alias(pod, field)}"
            if isinstance(given, list):
                yield from (Named(rule, f"{whole}[{i}]", found) for i, one in enumerate(given) if (found := name(one)))
            elif isinstance(given, dict):
                yield from (Named(rule, f"{whole}.{key}", key) for key in given)
            elif given is not None:
                yield Named(rule, whole, given)
    for i, secret in enumerate(spec.secrets):
        yield Named("secrets", f"spec.secrets[{i}].secret", secret.secret)
    for i, argument in enumerate(spec.sampling.vllm_args):
        yield Named("engine_arguments", f"spec.sampling.vllmArgs[{i}].name", argument.name)
    for i, argument in enumerate(spec.teacher.model.vllm_args if spec.teacher.model else []):
        yield Named("engine_arguments", f"spec.teacher.model.vllmArgs[{i}].name", argument.name)
    if QUEUE_PRIORITY in labels:
        yield Named("priority_classes", f"metadata.labels[{QUEUE_PRIORITY}]", labels[QUEUE_PRIORITY])


def _alias(model: SpecModel, field: str) -> str:
    return str(type(model).model_fields[field].alias)


def _paths(experiment: Experiment) -> Iterator[BadInput]:
    for path, pod in _pods(experiment.spec.cluster):
        for i, volume in enumerate(pod.volumes):
            place = volume.mount_path
            if place.split("/")[1] in PROGRAM_FOLDERS and not f"{place}/".startswith("/etc/misstep/"):
                fix = "It would hide the program's own files: mount it below /etc/misstep or /mnt."
                yield BadInput(f"{path}.volumes[{i}].mountPath", place, fix)
    bundle = experiment.spec.storage.ca_bundle
    if bundle is not None and not _may_be_bundle(bundle):
        fix = "Give the absolute path of a file below /etc/misstep, /etc/ssl or a volume of your own."
        yield BadInput("spec.storage.caBundle", bundle, fix)


def _may_be_bundle(path: str) -> bool:
    steps = path.split("/")
    if steps[0] or "." in steps or ".." in steps:
        return False
    return steps[1] not in PROGRAM_FOLDERS or path.startswith(CERTIFICATE_FOLDERS)


def _teacher(endpoint: TeacherEndpoint, secrets: list[SecretVariable], number: int, rule: Rule) -> Iterator[BadInput]:
    url, variable = endpoint.url, endpoint.api_key_env
    where = f"policy.rules[{number}].teachers"
    ask = f"Or ask who runs Misstep to list it: {where} of the chart."
    straight = not re.search(r"/\.\.?(/|$)|%|\\", url)
    listed = [one for one in rule.teachers or () if straight and fits(url, (one.url,))]
    if rule.teachers is not None and not listed:
        urls = ", ".join(one.url for one in rule.teachers) or "none"
        fix = f"Teachers that may be used here: {urls}. Ask who runs Misstep to list it: {where} of the chart."
        yield BadInput("spec.teacher.endpoint.url", url, fix)
        return
    if variable is None:
        return
    sources = [(i, secret) for i, secret in enumerate(secrets) if secret.env == variable]
    if not sources and not any(fits(variable, one.env) for one in listed):
        fix = f"Name the Secret that holds the key in spec.secrets. {ask}"
        yield BadInput("spec.teacher.endpoint.apiKeyEnv", variable, fix)
    entry = entry_for(url)
    for i, secret in sources:
        if secret.key != entry and not any(fits(secret.secret, one.secrets) for one in listed):
            wanted = f"name the Secret's entry {entry}, after the URL's host. " if entry else ""
            fix = f"A key is sent only to the teacher that its entry is named after: {wanted}{ask}"
            yield BadInput(f"spec.secrets[{i}].key", secret.key, fix)


def _fix(field: str, number: int, rule: Rule) -> str:
    allowed = ", ".join(getattr(rule, field)) or "none"
    where = f"policy.rules[{number}].{_alias(rule, field)}"
    return f"Allowed here: {allowed}. Ask who runs Misstep to allow it: {where} of the chart."


def _env_fix(variable: str, number: int, rule: Rule) -> str:
    if is_guarded(variable):
        return (
            "No Experiment may set it: it acts before the program starts, or belongs to the store or the stage. Ask "
            "who runs Misstep to set it for all stages: stages.defaults.env of the chart."
        )
    more = f" and {', '.join(rule.env)}" if rule.env else ""
    where = f"policy.rules[{number}].env"
    return f"Allowed here: tuning variables{more}. Ask who runs Misstep to allow it: {where} of the chart."


def _secret_fix(variable: str, number: int) -> str:
    if is_guarded(variable) or fits(variable, TUNING):
        return "This variable may not hold a Secret: choose another name."
    return (
        f"A Secret may be in {HUB_TOKEN}, or in the variable that spec.teacher.endpoint.apiKeyEnv names. Ask who "
        f"runs Misstep to allow another: policy.rules[{number}].env of the chart."
    )
