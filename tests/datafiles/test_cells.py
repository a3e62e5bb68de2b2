"""Cells of a row as text: paths, numbers, lists, chats, and cells that are not text."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.datafiles.cells import ABSENT, CellError, Role, cell, find, number_text, paths

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " How many? "}]
SHARE = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "It is 4."}]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", 1),
        ("a.b", "the column's own name comes first"),
        ("c.d", 2),
        ("c.e.f", 3),
        ("list.0", 4),
        ("list.-1", 5),
        ("list.7", ABSENT),
        ("rows.1.x", 7),
        ("null.x", None),
        ("c.missing", ABSENT),
        ("c.d.x", ABSENT),
        ("nothing", ABSENT),
        ("dotted.name.x", 8),
    ],
)
def test_a_dotted_path_leads_into_a_column(path: str, value: Any) -> None:
    row = {
        "a": 1,
        "a.b": "the column's own name comes first",
        "c": {"d": 2, "e": {"f": 3}},
        "list": [4, 5],
        "rows": [{"x": 6}, {"x": 7}],
        "null": None,
        "dotted.name": {"x": 8},
    }
    assert find(row, path) is value or find(row, path) == value


@given(
    st.recursive(
        st.integers(),
        lambda inner: st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, min_size=1, max_size=3),
        max_leaves=6,
    ).filter(lambda value: isinstance(value, dict))
)
def test_every_listed_path_is_found(row: dict[str, Any]) -> None:
    for path in paths(row, deep=9):
        assert find(row, path) is not ABSENT


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (ABSENT, ""),
        (float("nan"), ""),
        (float("inf"), ""),
        ("  4\n", "4"),
        ("\ufeff4\u200b", "4"),
        (" \t\u3000", ""),
        (4, "4"),
        (4.0, "4"),
        (0.5, "0.5"),
        (1e3, "1000"),
        (1e22, "10000000000000000000000"),
        (Decimal("0.30"), "0.30"),
        (Decimal("4.00"), "4"),
        (Decimal("1E+3"), "1000"),
        (10**30, str(10**30)),
        (["4"], "4"),
        ([["4"]], "4"),
        (["4", "4"], "4"),
        ([4, "4"], "4"),
        ([], ""),
        ([None], ""),
        ({"role": "assistant", "content": "4"}, "4"),
    ],
)
def test_a_cell_as_text(value: Any, text: str) -> None:
    assert cell(value, "a", "answer").text == text


def test_a_number_too_large_to_write_out_is_left_as_it_is_written() -> None:
    assert number_text(Decimal("1e999999")) == "1E+999999"


@pytest.mark.parametrize("word", ["nan", "None", "null", "N/A", "<NA>"])
def test_the_words_for_nothing_are_no_solution_and_no_question(word: str) -> None:
    assert [cell(word, "c", role).text for role in ("question", "solution")] == ["", ""]
    assert cell(word, "c", "answer").text == word, "whether it is an answer is decided elsewhere, and counted"


@pytest.mark.parametrize(
    ("value", "seen", "fix"),
    [
        (["4", "5"], "a list of 2 different values ('4', '5')", "a.0 takes the first of each list and a.-1 the last"),
        ({"truth": "4", "style": "rule"}, "an object with truth, style", "for example a.truth"),
        ({"x": {"y": 1}}, "an object with x", "for example a.x.y"),
        (True, "true, which is not text", "yes or no"),
        (b"\xff", "a bytes", "text or numbers"),
    ],
)
def test_what_is_no_text_is_named_with_the_fix(value: Any, seen: str, fix: str) -> None:
    with pytest.raises(CellError) as caught:
        cell(value, "a", "answer")
    assert seen in caught.value.seen and fix in caught.value.fix


@pytest.mark.parametrize(
    ("value", "role", "text", "left_out"),
    [
        (CHAT, "question", "How many?", "system"),
        (CHAT[1:], "question", "How many?", ""),
        (SHARE, "question", "How many?", ""),
        (SHARE, "solution", "It is 4.", ""),
        ([{"role": "user", "content": [{"type": "text", "text": "How many?"}]}], "question", "How many?", ""),
        ([{"role": "system", "content": ""}, CHAT[1]], "question", "How many?", ""),
    ],
)
def test_of_a_chat_the_wanted_turn_is_taken(value: Any, role: Role, text: str, left_out: str) -> None:
    found = cell(value, "prompt", role)
    assert found.text == text
    assert [left_out in remark for remark in found.remarks] == ([True] if left_out else [])


@pytest.mark.parametrize("text", [json.dumps(CHAT), str(CHAT), json.dumps(SHARE, indent=1)])
def test_a_chat_that_is_written_out_as_text_is_one(text: str) -> None:
    assert cell(text, "prompt", "question").text == "How many?"
    assert cell(f"Read {text}", "prompt", "question").text.startswith("Read [")


@pytest.mark.parametrize("text", ['{"truth": {"value": "4"}}', "{'truth': {'value': '4'}}"])
def test_a_path_leads_into_an_object_that_is_written_out_as_text(text: str) -> None:
    assert find({"rm": text}, "rm.truth.value") == "4"
    assert find({"rm": "truth"}, "rm.truth.value") is ABSENT


def test_hostile_text_is_no_object() -> None:
    for text in ("[" * 100_000, "{" * 100_000, '[{"role": ' * 10_000, "(" * 100_000):
        assert find({"a": text}, "a.b") is ABSENT
        assert cell(text, "a", "question").text == text.strip()


@pytest.mark.parametrize(
    ("value", "role", "said"),
    [
        ([*CHAT, {"role": "assistant", "content": "4"}, CHAT[1]], "question", "2 turns of the user"),
        (CHAT, "solution", "no turn of the assistant"),
        (SHARE[1:], "question", "no turn of the user"),
    ],
)
def test_a_chat_with_several_wanted_turns_or_none_is_refused(value: Any, role: Role, said: str) -> None:
    with pytest.raises(CellError) as caught:
        cell(value, "prompt", role)
    assert said in caught.value.seen
    assert "prompt." in caught.value.fix and ("content" in caught.value.fix or "value" in caught.value.fix)


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_numbers_keep_their_value(number: int | Decimal) -> None:
    assert Decimal(number_text(number)) == number
    assert json.loads(number_text(number), parse_float=Decimal) == number
