"""The YAML of Experiments: YAML 1.2, without anything that kubectl reads as another value.

kubectl converts a file to JSON by the rules of YAML 1.1: ``yes`` is true, ``017`` is 15, ``1_000`` is 1000. In YAML 1.2
they are text, 17, and text. Such a word or number is refused without quotes, so that a file has only one meaning. Merge
keys (``<<``), which YAML 1.2 lacks, and tags of types that JSON lacks are refused too.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.constructor import BaseConstructor, ConstructorError, DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import BaseResolver

__all__ = ["FLOAT", "MappingNode", "Node", "SequenceNode", "YAMLError", "compose", "error_text", "load_all"]

_TAG = "tag:yaml.org,2002:"
_AMBIGUOUS = "tag:misstep.dev,2026:ambiguous"
_DEEPEST = 100
_DIGITS = "0123456789"
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
"""Any number in decimal, with or without a fraction and an exponent. `rewrite` writes by it too."""
_SPECIAL_FLOAT = re.compile(r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)$|0x[0-9a-fA-F]+$|0o[0-7]+$")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"(~|null|Null|NULL|)$")
_WORD = re.compile(r"(y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)$")
_ODD_NUMBER = re.compile(
    r"[-+]?0[0-9_]+$"  # a leading zero: octal to YAML 1.1
    r"|[-+]?0([xX][0-9a-fA-F_]+|[oO][0-7_]+|[bB][01_]+)$"
    r"|(?=.*_)[-+]?([0-9_]+(\.[0-9_]*)?|\.[0-9_]+)([eE][-+]?[0-9_]+)?$"
)
"""Checked after `_INT`: text that only kubectl reads as a number, or reads as another number."""


def load_all(text: str) -> list[Any]:
    """Read all documents of a text.

    Raises:
        YAMLError: invalid YAML, a repeated key, or something refused here; `error_text` says what and where.
    """
    return list(_reader().load_all(text))


def compose(text: str) -> Node | None:
    """Return the nodes of the only document of a text, each with its position. Raises YAMLError."""
    node: Node | None = _reader().compose(text)
    _place_empty_values(text, node, set())
    return node


def _place_empty_values(text: str, node: Node | None, seen: set[int]) -> None:
    """Position an absent value directly after its key's colon: the parser positions it at the next token."""
    if not isinstance(node, MappingNode | SequenceNode) or id(node) in seen:
        return
    seen.add(id(node))
    for item in node.value:
        key, value = item if isinstance(item, tuple) else (None, item)
        _place_empty_values(text, value, seen)
        if key is not None and value.start_mark.index == value.end_mark.index:
            mark = key.end_mark
            colon = re.compile(r"\s*:").match(text, mark.index)
            place = colon.end() if colon else mark.index
            value.start_mark = value.end_mark = StreamMark(mark.name, place, mark.line, mark.column)


def error_text(error: YAMLError) -> str:
    """Return one line that says what is wrong with a text and where: ``line 3, column 7: ...``."""
    if not isinstance(error, MarkedYAMLError):
        return " ".join(str(error).split())
    said = ", ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}" if mark else said


def _reader() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = _Resolver
    yaml.Constructor = _Constructor
    yaml.max_depth = _DEEPEST
    yaml.composer.warn_double_anchors = False
    return yaml


class _Resolver(BaseResolver):
    """The type of text without quotes: YAML 1.2's core schema, even if a document says ``%YAML 1.1``."""

    def __init__(self, version: Any = None, loader: Any = None) -> None:
        super().__init__(loader)
        self._loader_version = version

    @property
    def processing_version(self) -> Any:
        return (1, 2)


for _name, _pattern, _first in (
    (f"{_TAG}bool", _BOOL, "tTfF"),
    (f"{_TAG}null", _NULL, ["~", "n", "N", ""]),
    (f"{_TAG}int", _INT, f"-+{_DIGITS}"),
    (_AMBIGUOUS, _ODD_NUMBER, f"-+{_DIGITS}"),
    (f"{_TAG}float", FLOAT, f"-+.{_DIGITS}"),
    (f"{_TAG}float", _SPECIAL_FLOAT, "-+."),
    (_AMBIGUOUS, _WORD, "yYnNoO"),
    (_AMBIGUOUS, re.compile("<<$"), "<"),
):
    _Resolver.add_implicit_resolver_base(_name, _pattern, list(_first))


class _Constructor(BaseConstructor):
    """Constructs only values that JSON has."""

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        if key in mapping:
            raise DuplicateKeyError(None, None, f"the key {key!r} is repeated", key_node.start_mark)
        return True


def _refuse(node: Node, why: str) -> NoReturn:
    raise ConstructorError(None, None, why, node.start_mark)


def _scalar(_: _Constructor, node: Node) -> Any:
    if not isinstance(node, ScalarNode):
        _refuse(node, "a value is wanted here, not a list or a mapping")
    text: str = node.value
    kind = str(node.tag).removeprefix(_TAG)
    if kind == "str":
        return text
    if kind == "null" and _NULL.match(text):
        return None
    if kind == "bool" and _BOOL.match(text):
        return text.lower() == "true"
    if kind == "int" and _INT.match(text):
        return _whole(node, text)
    if kind == "float" and (FLOAT.match(text) or _SPECIAL_FLOAT.match(text)):
        return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
    _refuse(node, f"{text} is no {kind}")


def _whole(node: Node, text: str) -> int:
    try:
        return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
    except ValueError:  # thousands of digits
        _refuse(node, "a number with too many digits")


def _sequence(constructor: _Constructor, node: Node) -> Any:
    made: list[Any] = []
    yield made
    made.extend(constructor.construct_sequence(node))


def _mapping(constructor: _Constructor, node: Node) -> Any:
    made: dict[Any, Any] = {}
    yield made
    made.update(constructor.construct_mapping(node))


def _ambiguous(_: _Constructor, node: ScalarNode) -> NoReturn:
    text = node.value
    if text == "<<":
        _refuse(node, "YAML 1.2 has no merge keys (<<): write the fields out")
    if _WORD.match(text):
        plain = "true" if text.lower() in ("y", "yes", "on") else "false"
        _refuse(node, f'{text} is {plain} to kubectl and text to YAML 1.2: write {plain}, or "{text}" for text')
    _refuse(
        node,
        f"{text} is one number to kubectl and another one, or text, to YAML 1.2: write it without leading zeros, "
        f'underscores and prefix, or "{text}" for text',
    )


def _unknown(_: _Constructor, node: Node) -> NoReturn:
    _refuse(node, f"no such type here: {str(node.tag).replace(_TAG, '!!')}")


for _kind in ("str", "null", "bool", "int", "float"):
    _Constructor.add_constructor(f"{_TAG}{_kind}", _scalar)
_Constructor.add_constructor(f"{_TAG}seq", _sequence)
_Constructor.add_constructor(f"{_TAG}map", _mapping)
_Constructor.add_constructor(_AMBIGUOUS, _ambiguous)
_Constructor.add_constructor(None, _unknown)
