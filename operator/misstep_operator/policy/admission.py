"""The platform's policy as the API server checks it: parts of a ValidatingAdmissionPolicy, in CEL.

The chart puts them together with its rules (``templates/admission.yaml``). There each rule is a map from the fields
that it gives to regular expressions, ``rule.env``, and to the names as people read them, ``rule['env said']``. Each
validation has a twin in ``policy``; ``tests/security/policy_cases.py`` has cases of both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

from misstep_operator.crd.cel import has
from misstep_operator.policy.check import EVERY_TAINT, POD_FIELDS, QUEUE_PRIORITY
from misstep_operator.policy.rules import (
    CERTIFICATE_FOLDERS,
    GUARDED,
    HUB_TOKEN,
    LISTS,
    PROGRAM_FOLDERS,
    TUNING,
    Rule,
    pattern,
)

_CROOKED = r"/\.\.?(/|$)|%|\\"
"""A URL's path that may lead to another one than it says."""
_DOTS = r"/\.\.?(/|$)"


class Validation(NamedTuple):
    """What must hold, and what to say where it does not; both are CEL."""

    holds: str
    says: str


def admission() -> dict[str, Any]:
    """Return what the chart's template needs: fields of a rule that are lists of names, variables, and validations."""
    return {
        "fields": list(map(_camel, LISTS)),
        "variables": [{"name": name, "expression": cel} for name, cel in _variables().items()],
        "validations": [{"expression": each.holds, "messageExpression": each.says} for each in _validations()],
    }


def admission_yaml() -> str:
    """Write it as YAML."""
    return yaml.safe_dump(admission(), sort_keys=False, width=120)


def _variables() -> dict[str, str]:
    kinds = ", ".join(map(_text, map(_camel, POD_FIELDS)))
    endpoint = "object.spec.teacher.endpoint"
    whole_url = "'^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/.*)?$'"
    return {
        # `rules` comes before these, from the chart.
        "held": "variables.rules.filter(rule, request.namespace.matches(rule.namespaces))",
        "rule": "variables.held[0]",
        "pods": f"{has('object.spec.cluster')} ? [{kinds}].filter(kind, kind in dyn(object.spec.cluster))"
        ".map(kind, dyn(object.spec.cluster)[kind]) : []",
        "secrets": f"{has('object.spec.secrets')} ? object.spec.secrets : []",
        "url": f"{has(f'{endpoint}.url')} ? {endpoint}.url : ''",
        "key": f"{has(f'{endpoint}.apiKeyEnv')} ? {endpoint}.apiKeyEnv : ''",
        # What the Secret's entry is called that may be sent there; no entry can be called "".
        "entry": f"variables.url.matches({whole_url}) ? "
        "variables.url.split('://')[1].split('/')[0].lowerAscii().replace(':', '_') : ''",
        "straight": f"!variables.url.matches({_text(_CROOKED)})",
        **{name: cel for field in LISTS for name, cel in _names_that_may_be_given(field).items()},
    }


def _names_that_may_be_given(field: str) -> dict[str, str]:
    name, default = _camel(field), getattr(Rule(namespaces=()), field)
    said = _text(", ".join(default) or "none")
    return {
        f"{name}Pattern": f"'{name}' in variables.rule ? variables.rule.{name} : {_regex(default)}",
        f"{name}Said": f"'{name} said' in variables.rule ? variables.rule['{name} said'] : {said}",
    }


def _validations() -> list[Validation]:
    has_rule = "variables.held.size() > 0"
    nobody = (
        "'metadata.namespace: ' + request.namespace + '. No rule of the platform\\'s policy is for it: ask who runs "
        "Misstep to name it in the chart\\'s policy.rules.'"
    )
    found = []
    for field, where, names in _NAMES_OF_PODS:
        found.append(_of_pods(where, names, f"name.matches(variables.{_camel(field)}Pattern)", _said(field)))
    guarded = f"name.matches({_regex(GUARDED, '(?is)')})"
    tuning = f"name.matches({_regex(TUNING)})"
    allowed = f"({tuning} || name.matches(variables.envPattern) && !{guarded})"
    more = (
        "'May be set here: variables that only tune; and ' + variables.envSaid + '. Variables that act before "
        "the program does, or are the store\\'s or the stage\\'s own, no Experiment may set. Ask who runs Misstep: "
        "policy.rules[' + variables.rule.number + '].env of the chart, or stages.defaults.env.'"
    )
    found.append(_of_pods("env", "pod.env.map(one, one.name)", allowed, more))
    found.append(
        _of_list(
            "spec.secrets[].env",
            "variables.secrets.map(one, one.env)",
            f"!{guarded} && !{tuning} && (name == {_text(HUB_TOKEN)} || name == variables.key || "
            f"name.matches(variables.envPattern))",
            f"'A Secret goes into {HUB_TOKEN}, or into the variable that spec.teacher.endpoint.apiKeyEnv names; never "
            "into one that acts before the program does or that tunes. Ask who runs Misstep to allow another: "
            "policy.rules[' + variables.rule.number + '].env of the chart.'",
        )
    )
    for field, where, names in _NAMES:
        found.append(_of_list(where, names, f"name.matches(variables.{_camel(field)}Pattern)", _said(field)))
    folders = "|".join(PROGRAM_FOLDERS)
    found.append(
        _of_pods(
            "volumes",
            "pod.volumes.map(one, one.mountPath)",
            f"!name.matches({_text(f'^/({folders})(/|$)')}) || (name + '/').startsWith('/etc/misstep/')",
            "'It would hide the program\\'s own files: mount it below /etc/misstep or /mnt.'",
        )
    )
    below = "|".join(CERTIFICATE_FOLDERS)
    found.append(
        _of_list(
            "spec.storage.caBundle",
            _one("object.spec.storage.caBundle"),
            f"name.startsWith('/') && !name.matches({_text(_DOTS)}) && "
            f"(!name.matches({_text(f'^/({folders})(/|$)')}) || name.matches({_text(f'^({below})')}))",
            "'Give the absolute path of a file below /etc/misstep, /etc/ssl or a volume of your own.'",
        )
    )
    found += _teacher()
    return [
        Validation(has_rule, nobody),
        *(Validation(f"!({has_rule}) || ({each.holds})", each.says) for each in found),
    ]


def _teacher() -> list[Validation]:
    """A teacher may be asked where the rule lists it or lists none, and gets a key that names it or is listed for it.

    What a rule lists are regular expressions for ``URL SECRET`` and ``URL VARIABLE``: no URL has a space.
    """
    ask = "Ask who runs Misstep to list it: policy.rules[' + variables.rule.number + '].teachers of the chart.'"
    listed = "variables.straight && (variables.url + ' ' + {}).matches(variables.rule.{})"
    of_env, of_secret = listed.format("variables.key", "teacherEnv"), listed.format("one.secret", "teacherSecrets")
    mine = "variables.secrets.filter(one, one.env == variables.key)"
    return [
        Validation(
            "variables.url == '' || !('teachers' in variables.rule) || "
            "variables.straight && variables.url.matches(variables.rule.teachers)",
            f"'spec.teacher.endpoint.url: ' + variables.url + '. It is no teacher that may be asked here. {ask}",
        ),
        Validation(
            f"variables.key == '' || {mine}.size() > 0 || {of_env}",
            "'spec.teacher.endpoint.apiKeyEnv: ' + variables.key + '. Name the Secret that holds the key in "
            f"spec.secrets. {ask}",
        ),
        Validation(
            f"variables.key == '' || {mine}.all(one, one.key == variables.entry || {of_secret})",
            f"'spec.secrets[].key: ' + {mine}.map(one, one.key).join(', ') + '. A key is sent only to the teacher that "
            f"it names: call the Secret\\'s entry as the URL\\'s host is called, ' + variables.entry + '. {ask}",
        ),
    ]


_NAMES_OF_PODS = (
    ("service_accounts", "serviceAccount", "[pod.serviceAccount]"),
    ("priority_classes", "priorityClass", "[pod.priorityClass]"),
    ("runtime_classes", "runtimeClass", "[pod.runtimeClass]"),
    ("tolerations", "tolerations", f"pod.tolerations.map(one, has(one.key) ? one.key : '{EVERY_TAINT}')"),
    ("node_labels", "nodeSelector", "pod.nodeSelector.map(key, key)"),
    ("secrets", "imagePullSecrets", "pod.imagePullSecrets"),
    ("secrets", "volumes", "pod.volumes.filter(one, has(one.secret)).map(one, one.secret)"),
    ("config_maps", "volumes", "pod.volumes.filter(one, has(one.configMap)).map(one, one.configMap)"),
    (
        "claims",
        "volumes",
        "pod.volumes.filter(one, has(one.persistentVolumeClaim)).map(one, one.persistentVolumeClaim)",
    ),
    ("claims", "modelCacheClaim", "[pod.modelCacheClaim]"),
    ("labels", "labels", "pod.labels.map(key, key)"),
    ("annotations", "annotations", "pod.annotations.map(key, key)"),
    ("gpu_resources", "gpuResource", "[pod.gpuResource]"),
)
"""Field of a rule, field of pods' settings that names something, and the names in it."""


def _one(path: str) -> str:
    return f"({has(path)} ? [{path}] : [])"


_NAMES = (
    ("secrets", "spec.secrets[].secret", "variables.secrets.map(one, one.secret)"),
    *(
        (
            "engine_arguments",
            f"spec.{path}.vllmArgs[].name",
            f"({has(f'object.spec.{path}.vllmArgs')} ? object.spec.{path}.vllmArgs.map(one, one.name) : [])",
        )
        for path in ("sampling", "teacher.model")
    ),
    (
        "priority_classes",
        f"metadata.labels[{QUEUE_PRIORITY}]",
        f"(has(object.metadata.labels) && '{QUEUE_PRIORITY}' in object.metadata.labels ? "
        f"[object.metadata.labels['{QUEUE_PRIORITY}']] : [])",
    ),
)


def _of_pods(field: str, names: str, allowed: str, fix: str) -> Validation:
    given = f"(has(pod.{field}) ? {names} : [])"
    holds = f"variables.pods.all(pod, {given}.all(name, {allowed}))"
    refused = f"variables.pods.map(pod, {given}.filter(name, !({allowed})).join(', ')).filter(some, some != '')"
    return Validation(holds, f"'spec.cluster.*.{field}: ' + {refused}.join(', ') + '. ' + {fix}")


def _of_list(where: str, names: str, allowed: str, fix: str) -> Validation:
    refused = f"{names}.filter(name, !({allowed})).join(', ')"
    return Validation(f"{names}.all(name, {allowed})", f"'{where}: ' + {refused} + '. ' + {fix}")


def _said(field: str) -> str:
    name = _camel(field)
    return (
        f"'May be named here: ' + variables.{name}Said + '. Ask who runs Misstep to allow it: '"
        f" + 'policy.rules[' + variables.rule.number + '].{name} of the chart.'"
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _regex(names: tuple[str, ...], flags: str = "(?s)") -> str:
    return _text(f"{flags}^({pattern(names)})$" if names else "$^.")  # nothing stands behind a text's end


def _text(value: str) -> str:
    """Write a text as CEL does, whatever is in it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


assert all(field in LISTS for field, *_ in (*_NAMES_OF_PODS, *_NAMES))
