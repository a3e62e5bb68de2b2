"""How values.yaml becomes a schema and a table."""

from __future__ import annotations

import pytest

from tools import chart_values

TEXT = """\
# About nobody in particular.

# How many,
# at least one.
# @schema {"minimum": 1}
count: 2
# Where.
place:
  # Its town.
  town: ""
  # Its labels.
  # @schema {"$ref": "#/$defs/strings"}
  labels: {a: b}
"""


def test_types_come_from_defaults_and_the_rest_from_comments() -> None:
    found = chart_values.schema(chart_values.read_values(TEXT))["properties"]
    assert found["count"] == {"description": "How many, at least one.", "type": "integer", "minimum": 1}
    assert found["place"]["additionalProperties"] is False
    assert found["place"]["properties"] == {
        "town": {"description": "Its town.", "type": "string"},
        "labels": {"description": "Its labels.", "$ref": "#/$defs/strings"},
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("key: 1\n", "key has no comment"),
        ("# A.\na:\n  b: 1\n", r"a\.b has no comment"),
        ("# Some.\nkey: []\n", "key needs a @schema line"),
        ("# Some.\nkey: {}\n", "key needs a @schema line"),
    ],
)
def test_what_it_cannot_know_is_asked_for(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        chart_values.schema(chart_values.read_values(text))
