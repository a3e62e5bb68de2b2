"""Change single values in an Experiment's YAML, and keep its comments and layout.

The place of each value is found by the parser of the loader, and the result is read back: where it does not say what it
should (a block scalar, an alias that stands for several places), the whole document is written anew, without comments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from misstep.errors import BadInput
from misstep.spec.load import parse_document
from misstep.spec.rewrite import copied, flow_text, yaml_text
from misstep.spec.yaml12 import MappingNode, Node, SequenceNode, YAMLError, compose

Path = tuple[str | int, ...]
"""Keys of mappings and positions in lists, from the top of the document."""


def changed(document: Mapping[str, Any], changes: Sequence[tuple[Path, Any]]) -> dict[str, Any]:
    """Return a copy of a document with values set at paths; missing mappings on the way are created."""
    made: dict[str, Any] = copied(document)
    for path, value in changes:
        holder: Any = made
        for step in path[:-1]:
            if isinstance(holder, dict) and holder.get(step) is None:
                holder[step] = {}
            holder = holder[step]
        holder[path[-1]] = copied(value)
    return made


def edit(text: str, changes: Sequence[tuple[Path, Any]]) -> str:
    """Change values in YAML text.

    Args:
        text: one document, a mapping; its status is ignored.

    Returns:
        Text that parses to the result of `changed`.
    """
    wanted = changed(parse_document(text), changes)
    edited = text
    try:
        for path, value in changes:
            edited = _edit_one(edited, path, value)
        if parse_document(edited) == wanted:
            return edited
    except (YAMLError, BadInput, _NoPlace):
        pass
    return yaml_text(wanted)


class _NoPlace(Exception):
    """A value cannot be edited at its position alone."""


def _edit_one(text: str, path: Path, value: Any) -> str:
    node: Node | None = compose(text)
    for depth, step in enumerate(path):
        assert node is not None, "the document is a mapping"
        below, rest = _child(node, step), path[depth + 1 :]
        if below is None:
            return _inserted(text, node, str(step), _nested(rest, value))
        if not rest or below.tag == "tag:yaml.org,2002:null":
            return _replaced(text, below, _nested(rest, value))
        node = below
    raise _NoPlace


def _nested(path: Path, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(node, MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    if isinstance(node, SequenceNode) and isinstance(step, int):
        found: Node = node.value[step]
        return found
    raise _NoPlace


def _replaced(text: str, node: Node, value: Any) -> str:
    start, end = node.start_mark.index, _end(node)
    space = "" if start == 0 or text[start - 1].isspace() else " "
    return text[:start] + space + flow_text(value) + text[end:]


def _inserted(text: str, parent: Node, key: str, value: Any) -> str:
    if not isinstance(parent, MappingNode):
        raise _NoPlace
    item = f"{key}: {flow_text(value)}"
    if parent.flow_style:
        if not parent.value:
            end = parent.end_mark.index - 1
            return text[:end] + item + text[end:]
        end = _end(parent.value[-1][1])
        return f"{text[:end]}, {item}{text[end:]}"
    end = _end(parent.value[-1][1])
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    indent = " " * parent.value[0][0].start_mark.column
    return f"{text[:line_end]}\n{indent}{item}{text[line_end:]}"


def _end(node: Node) -> int:
    """The end of a node's own text: a block's end mark comes after the comments that follow it."""
    if isinstance(node, MappingNode | SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    index: int = node.end_mark.index
    return index
