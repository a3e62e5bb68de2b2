"""An Experiment's YAML with uploaded copies in place of local paths, because a cluster cannot see the folders of this
machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from misstep.spec.fields import number_text
from misstep.spec.yaml12 import FLOAT

PLACES = {
    "model": ("policy", "model"),
    "model_teacher": ("teacher", "model", "model"),
    "source_train": ("problems", "train"),
    "source_test": ("problems", "test"),
    "source_validation": ("problems", "validation"),
}
"""The field of the spec for each role that `misstep.sources.resolve` returns."""
_ORIGIN = ("path", "hub", "revision", "config", "split", "uri", "digest")
_PLAIN = re.compile(r"[A-Za-z][-A-Za-z0-9._/]+")


def with_copies(document: Mapping[str, Any], copies: Mapping[str, tuple[str, str]], storage: str) -> dict[str, Any]:
    """Return the document of a valid Experiment with the copies and their store in it.

    Args:
        copies: role -> URI and digest of a copy.
        storage: the store's URI; the other storage fields of the document stay.
    """
    spec = copied(document["spec"])
    problems = spec["problems"]
    if "source_test" in copies and problems.get("test") is None:
        # The test split of the training problems' source: it is written out, since a copy holds one split only.
        problems["test"] = {name: value for name, value in problems["train"].items() if name not in ("split", "limit")}
    for role, (uri, digest) in copies.items():
        holder = spec
        for name in PLACES[role][:-1]:
            holder = holder[name]
        name = PLACES[role][-1]
        kept = {key: value for key, value in holder[name].items() if key not in _ORIGIN}
        holder[name] = kept | {"uri": uri, "digest": digest}
    spec["storage"] = (spec.get("storage") or {}) | {"uri": storage}
    return {**document, "spec": spec}


def yaml_text(document: Mapping[str, Any]) -> str:
    """Write a document as YAML that every parser reads the same way: text is quoted if any parser could read it as
    something else."""
    return yaml.dump(document, Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True, width=110)


def flow_text(value: Any) -> str:
    """Write a value as it stands inside a line of YAML: ``{beta: 0.1}``."""
    text: str = yaml.dump(
        [value], Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True, width=10**9, default_flow_style=True
    )
    return text.strip().removeprefix("[").removesuffix("]")


def copied(value: Any) -> Any:
    """Copy a document's mappings and lists. A part that an alias put in two places becomes two copies."""
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


class Dumper(yaml.SafeDumper):
    """PyYAML's writer, which quotes all that is no text to YAML 1.1: so nobody reads it as something else. It writes
    numbers short, and writes out what is the same in several places."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = number_text(value)
    return dumper.represent_scalar(f"tag:yaml.org,2002:{'int' if text.isdecimal() else 'float'}", text)


Dumper.add_representer(float, _float)
Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    FLOAT,  # YAML 1.2 has numbers like 5e-7
    list("-+.0123456789"),
)


class _QuotingDumper(Dumper):
    """Quotes also what only looks as if it were something else."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(value) else "|" if "\n" in value.strip("\n") else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_QuotingDumper.add_representer(str, _text)
