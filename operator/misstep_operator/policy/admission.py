"""The platform's policy as the API server checks it: parts of a ValidatingAdmissionPolicy, in CEL.

The chart combines them with its rules (``templates/admission.yaml``). There each rule is a map that has for each of its
fields a regular expression, such as ``rule.env``, and the names as people read them, such as ``rule['env names']``.
Each validation has an equivalent in ``check.py``; ``tests/security/policy_cases.py`` has cases for both.
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

_AMBIGUOUS = r"/\.\.?(/|$)|%|\\"
"""Parts of a URL's path that servers may read in more than one way."""
_DOTS = r"/\.\.?(/|$)"


class Validation(NamedTuple):
    """A condition and the message where it is false, both in CEL."""

    condition: str
    message: str


def admission() -> dict[str, Any]:
    """Return what the chart's template needs: variables, validations, and the list fields of a rule."""
    return {
        "fields": list(map(_camel, LISTS)),
        "variables": [{"name": name, "expression": cel} for name, cel in _variables().items()],
        "validations": [{"expression": each.condition, "messageExpression": each.message} for each in _validations()],
    }


def admission_yaml() -> str:
    """Return `admission` as YAML."""
    return yaml.safe_dump(admission(), sort_keys=False, width=120)


def _variables() -> dict[str, str]:
    kinds = ", ".join(map(_text, map(_camel, POD_FIELDS)))
    endpoint = "object.spec.teacher.endpoint"
    whole_url = "'^https?://[A-Za-z0-9.-]+(:[0-9]+)?(/.*)?$'"
    return {
        # The chart defines `rules` before these.
        "matching": "variables.rules.filter(rule, request.namespace.matches(rule.namespaces))",
        "rule": "variables.matching[0]",
        "pods": f"{has('object.spec.cluster')} ? [{kinds}].filter(kind, kind in dyn(object.spec.cluster))"
        ".map(kind, dyn(object.spec.cluster)[kind]) : []",
        "secrets": f"{has('object.spec.secrets')} ? object.spec.secrets : []",
        "url": f"{has(f'{endpoint}.url')} ? {endpoint}.url : ''",
        "key": f"{has(f'{endpoint}.apiKeyEnv')} ? {endpoint}.apiKeyEnv : ''",
        # The name of the Secret's entry that may be sent there. No entry can be named "".
        "entry": f"variables.url.matches({whole_url}) ? "
        "variables.url.split('://')[1].split('/')[0].lowerAscii().replace(':', '_') : ''",
        "plain": f"!variables.url.matches({_text(_AMBIGUOUS)})",
        **{name: cel for field in LISTS for name, cel in _allowed_names(field).items()},
    }


def _allowed_names(field: str) -> dict[str, str]:
    name, default = _camel(field), getattr(Rule(namespaces=()), field)
    names = _text(", ".join(default) or "none")
    return {
        f"{name}Pattern": f"'{name}' in variables.rule ? variables.rule.{name} : {_regex(default)}",
        f"{name}Names": f"'{name} names' in variables.rule ? variables.rule['{name} names'] : {names}",
    }


def _validations() -> list[Validation]:
    has_rule = "variables.matching.size() > 0"
    no_rule = (
        "'metadata.namespace: ' + request.namespace + '. No rule of the platform\\'s policy is for it: ask who runs "
        "Misstep to name it in the chart\\'s policy.rules.'"
    )
    found = []
    for field, where, names in _NAMES_OF_PODS:
        found.append(_of_pods(where, names, f"name.matches(variables.{_camel(field)}Pattern)", _name_fix(field)))
    guarded = f"name.matches({_regex(GUARDED, '(?is)')})"
    tuning = f"name.matches({_regex(TUNING)})"
    allowed = f"({tuning} || name.matches(variables.envPattern) && !{guarded})"
    more = (
        "'Allowed here: tuning variables, and ' + variables.envNames + '. No Experiment may set variables that act "
        "before the program starts, or that belong to the store or the stage. Ask who runs Misstep: "
        "policy.rules[' + variables.rule.number + '].env of the chart, or stages.defaults.env.'"
    )
    found.append(_of_pods("env", "pod.env.map(one, one.name)", allowed, more))
    found.append(
        _of_list(
            "spec.secrets[].env",
            "variables.secrets.map(one, one.env)",
            f"!{guarded} && !{tuning} && (name == {_text(HUB_TOKEN)} || name == variables.key || "
            f"name.matches(variables.envPattern))",
            f"'A Secret may be in {HUB_TOKEN}, or in the variable that spec.teacher.endpoint.apiKeyEnv names, but not "
            "in one that acts before the program starts or that tunes. Ask who runs Misstep to allow another: "
            "policy.rules[' + variables.rule.number + '].env of the chart.'",
        )
    )
    for field, where, names in _NAMES:
        found.append(_of_list(where, names, f"name.matches(variables.{_camel(field)}Pattern)", _name_fix(field)))
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
            _optional("object.spec.storage.caBundle"),
            f"name.startsWith('/') && !name.matches({_text(_DOTS)}) && "
            f"(!name.matches({_text(f'^/({folders})(/|$)')}) || name.matches({_text(f'^({below})')}))",
            "'Give the absolute path of a file below /etc/misstep, /etc/ssl or a volume of your own.'",
        )
    )
    found += _teacher()
    return [
        Validation(has_rule, no_rule),
        *(Validation(f"!({has_rule}) || ({each.condition})", each.message) for each in found),
    ]


def _teacher() -> list[Validation]:
    """A teacher may be used where the rule lists it or lists none. It may get a key that is named after it or listed.

    The lists of a rule are regular expressions for ``URL SECRET`` and ``URL VARIABLE``, since no URL has a space.
    """
    ask = "Ask who runs Misstep to list it: policy.rules[' + variables.rule.number + '].teachers of the chart.'"
    listed = "variables.plain && (variables.url + ' ' + {}).matches(variables.rule.{})"
    of_env, of_secret = listed.format("variables.key", "teacherEnv"), listed.format("one.secret", "teacherSecrets")
    mine = "variables.secrets.filter(one, one.env == variables.key)"
    return [
        Validation(
            "variables.url == '' || !('teachers' in variables.rule) || "
            "variables.plain && variables.url.matches(variables.rule.teachers)",
            f"'spec.teacher.endpoint.url: ' + variables.url + '. This teacher may not be used here. {ask}",
        ),
        Validation(
            f"variables.key == '' || {mine}.size() > 0 || {of_env}",
            "'spec.teacher.endpoint.apiKeyEnv: ' + variables.key + '. Name the Secret that holds the key in "
            f"spec.secrets. {ask}",
        ),
        Validation(
            f"variables.key == '' || {mine}.all(one, one.key == variables.entry || {of_secret})",
            f"'spec.secrets[].key: ' + {mine}.map(one, one.key).join(', ') + '. A key is sent only to the teacher "
            f"that its entry is named after: name the Secret\\'s entry after the host, ' + variables.entry + '. {ask}",
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
"""Field of a rule, field of the pod settings, and the names in it."""


def _optional(path: str) -> str:
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
    condition = f"variables.pods.all(pod, {given}.all(name, {allowed}))"
    refused = f"variables.pods.map(pod, {given}.filter(name, !({allowed})).join(', ')).filter(some, some != '')"
    return Validation(condition, f"'spec.cluster.*.{field}: ' + {refused}.join(', ') + '. ' + {fix}")


def _of_list(where: str, names: str, allowed: str, fix: str) -> Validation:
    refused = f"{names}.filter(name, !({allowed})).join(', ')"
    return Validation(f"{names}.all(name, {allowed})", f"'{where}: ' + {refused} + '. ' + {fix}")


def _name_fix(field: str) -> str:
    name = _camel(field)
    return (
        f"'Allowed here: ' + variables.{name}Names + '. Ask who runs Misstep to allow it: '"
        f" + 'policy.rules[' + variables.rule.number + '].{name} of the chart.'"
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _regex(names: tuple[str, ...], flags: str = "(?s)") -> str:
    return _text(f"{flags}^({pattern(names)})$" if names else "$^.")  # never matches


def _text(value: str) -> str:
    """Return a text as a CEL literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


assert all(field in LISTS for field, *_ in (*_NAMES_OF_PODS, *_NAMES))
