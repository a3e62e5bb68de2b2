"""YAML is read as YAML 1.2, and what kubectl reads as another value is refused with its place and the fix."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.spec.yaml12 import YAMLError, error_text, load_all
from tests.spec.yaml_cases import ALIKE, UNLIKE


def read(text: str) -> Any:
    (document,) = load_all(text)
    return document


def complaint(text: str) -> str:
    with pytest.raises(YAMLError) as caught:
        load_all(text)
    return error_text(caught.value)


@pytest.mark.parametrize(("text", "value"), ALIKE.items())
def test_a_value_is_what_it_is_to_yaml_1_2(text: str, value: Any) -> None:
    found = read(f"a: {text}")["a"]
    assert found == value and type(found) is type(value)


def test_what_json_has_not_is_read_for_the_field_to_refuse() -> None:
    assert [read(text) for text in (".inf", "-.Inf", "+.INF", "1e400")] == [math.inf, -math.inf, math.inf, math.inf]
    assert math.isnan(read(".nan"))


@pytest.mark.parametrize(("text", "fix"), UNLIKE.items())
def test_what_kubectl_reads_otherwise_is_refused_with_the_fix(text: str, fix: str) -> None:
    assert fix in complaint(f"a: {text}")
    assert complaint(f"b: 1\na: {text}").startswith("line 2, column 4: ")
    assert complaint(f"? {text}\n: 1\n")
    quoted = f'a: "{text}"'
    assert read(quoted) == {"a": text}
    assert complaint(f"%YAML 1.1\n---\na: {text}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "line 2, column 11: the key 'c' is repeated"),
        ("1: a\n1.0: b", "line 2, column 1: the key 1.0 is repeated"),
        ("a: &x {b: 1}\nc: {<<: *x}", "line 2, column 5: YAML 1.2 has no merge keys (<<): write the fields out"),
        ("a: [", "line 1, column 5: while parsing a flow node, expected the node content"),
        ("a: 1\n b: 2", "line 2, column 3: mapping values are not allowed here"),
        ("a: *b", "line 1, column 4: found undefined alias 'b'"),
        ("a: !!timestamp 2026-01-01", "line 1, column 4: no such type here: !!timestamp"),
        ("a: !!binary aGk=", "no such type here: !!binary"),
        ("a: !!python/name:os.system", "no such type here: !!python/name:os.system"),
        ("a: !mine 1", "no such type here: !mine"),
        ("a: !!int 1.5", "line 1, column 4: 1.5 is no int"),
        ("a: !!float [1]", "a value is wanted here, not a list or a mapping"),
        ("? {a: 1}\n: 1", "found unhashable key"),
        ("[" * 200, "maximum depth"),
        ("a: " + "9" * 5000, "too many digits"),
        ("a: \x07", "special characters are not allowed"),
    ],
)
def test_errors_have_a_place(text: str, said: str) -> None:
    assert said in complaint(text)
    assert "\n" not in complaint(text)


def test_types_may_be_said() -> None:
    assert read("[!!str 1, !!float 1, !!int 0x10, !!bool true, !!null ~]") == ["1", 1.0, 16, True, None]


@given(st.integers(-(10**18), 10**18))
def test_whole_numbers_are_read(number: int) -> None:
    assert read(str(number)) == number


@given(st.text(max_size=60))
def test_no_text_brings_another_error(text: str) -> None:
    try:
        load_all(text)
    except YAMLError as error:
        assert error_text(error)
