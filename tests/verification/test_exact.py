"""The exact comparison against Python's rational arithmetic."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from misstep.verification.exact import Exact, Match, compare_exact
from misstep.verification.normal import tidy
from misstep.verification.quantity import parse_exact
from tests.verification.timing import allowed

integers = st.integers(-(10**12), 10**12)
positive = st.integers(1, 10**6)


def read(text: str) -> Exact:
    number = parse_exact(tidy(text))
    assert number is not None, text
    return number


@given(integers, st.sampled_from(["{}", "{:,}", "${}$", "**{}**", "{}.", "{}.00", r"\({}\)", " {} ", "{} dollars"]))
def test_an_integer_has_its_value_in_every_spelling(n: int, spelling: str) -> None:
    assert read(spelling.format(n)).value == n


@given(st.integers(1000, 10**9))
def test_thousands_separators_of_every_kind(n: int) -> None:
    grouped = f"{n:,}"
    for separator in (",", "{,}", r",\!", r"\,", " "):
        assert read(grouped.replace(",", separator)).value == n


@given(integers, positive)
def test_a_fraction_equals_itself_however_written(a: int, b: int) -> None:
    value = Fraction(a, b)
    sign, size = ("-" if a < 0 else ""), abs(a)
    for text in (f"{a}/{b}", rf"\frac{{{a}}}{{{b}}}", rf"{sign}\frac{{{size}}}{{{b}}}", rf"\dfrac{{{a}}}{{{b}}}"):
        assert read(text).value == value, text


@given(st.integers(1, 999), st.integers(2, 99), st.data())
def test_a_mixed_number_is_a_sum(whole: int, under: int, data: st.DataObject) -> None:
    over = data.draw(st.integers(1, under - 1))
    value = whole + Fraction(over, under)
    assert read(rf"{whole}\frac{{{over}}}{{{under}}}").value == value
    assert read(f"{whole} {over}/{under}").value == value
    assert read(rf"-{whole}\frac{{{over}}}{{{under}}}").value == -value


@given(st.decimals(-(10**9), 10**9, places=4), st.integers(-30, 30))
def test_decimals_and_scientific_notation_are_exact(d: object, exponent: int) -> None:
    value = Fraction(str(d))
    assert read(f"{d:f}").value == value
    assert read(rf"{d:f} \times 10^{{{exponent}}}").value == value * Fraction(10) ** exponent
    assert read(f"{d:f}e{exponent}").value == value * Fraction(10) ** exponent


@given(st.one_of(integers, st.fractions()), st.one_of(integers, st.fractions()))
def test_comparing_rationals_is_equality(a: Fraction, b: Fraction) -> None:
    match = compare_exact(read(str(a)), read(str(b)))
    assert (match is Match.EQUAL) == (a == b)
    assert (match is Match.DIFFERENT) == (a != b)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_percent_sign_is_the_number_or_its_hundredth(a: int, b: int) -> None:
    percent = read(rf"{a}\%")
    assert (compare_exact(percent, read(str(b))) is Match.EQUAL) == (a == b or a == 100 * b)
    assert compare_exact(read(str(Fraction(a, 100))), percent) is Match.EQUAL
    if a != b:
        assert compare_exact(percent, read(f"{b}%")) is Match.DIFFERENT


@pytest.mark.parametrize(
    ("pred", "gold", "match"),
    [
        ("18.00", "18", Match.EQUAL),
        ("2^{-99}", "2^{-98}", Match.DIFFERENT),
        ("0.0000001", "0.0000002", Match.DIFFERENT),
        ("1.234", "1234", Match.UNKNOWN),
        ("0.333333", r"\frac{1}{3}", Match.EQUAL),
        ("0.33", r"\frac{1}{3}", Match.UNKNOWN),
        ("0.66", r"\frac{2}{3}", Match.UNKNOWN),
        ("0.67", r"\frac{2}{3}", Match.UNKNOWN),
        ("0.68", r"\frac{2}{3}", Match.DIFFERENT),
        ("33.33", "33", Match.DIFFERENT),
        ("4", r"\frac{7}{2}", Match.DIFFERENT),
        ("180 minutes", "3 hours", Match.EQUAL),
        ("180 minutes", "3", Match.UNKNOWN),
        ("181 minutes", "3", Match.DIFFERENT),
        (r"5\text{ inches}", "5", Match.EQUAL),
        (r"45\text{ cm}^2", r"45\text{ cm}^3", Match.UNKNOWN),
        (r"30^\circ", "30", Match.EQUAL),
        ("1202_3", "1202", Match.EQUAL),
        ("1202_3", "1202_{4}", Match.DIFFERENT),
        ("47", "1202_3", Match.UNKNOWN),
        ("3 million", "3,000,000", Match.EQUAL),
        ("1e3", "1000", Match.EQUAL),
        ("--5", "5", Match.EQUAL),
        ("\u22125", "-5", Match.EQUAL),
        ("1/0.5", "2", Match.EQUAL),
        (r"0.\overline{3}", r"\frac{1}{3}", Match.EQUAL),
        (r"-4.1\overline{054}", r"-\frac{41013}{9990}", Match.EQUAL),
        (r"0.\overline{9}", "1", Match.EQUAL),
        (r"\phantom{-}5", "5", Match.EQUAL),
    ],
)
def test_rules(pred: str, gold: str, match: Match) -> None:
    assert compare_exact(read(pred), read(gold)) is match


@pytest.mark.parametrize(
    "text", ["", "x", "5x", "5i", "2pi", "1/0", "10!", "3:1", "1,2", "5 or 6", "1.2.3", "2e", "-", "$", ".", "1/2/3"]
)
def test_what_is_not_one_number(text: str) -> None:
    assert parse_exact(tidy(text)) is None


@given(st.text(alphabet="0123456789.,/-+ %$^_{}e\\frac ", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    number = parse_exact(tidy(text))
    assert number is None or isinstance(number.value, Fraction)


@pytest.mark.parametrize(
    "text",
    [
        "9" * 1_000_000,
        "9" * 4000 + "." + "9" * 4000,
        "1," * 500_000,
        "-" * 1_000_000,
        " " * 1_000_000,
        "10^{1000000000}",
        "10^{-1000000000}",
        "9^{999999999}",
        "1e999999999",
        "0^{-1}",
        r"\frac{1}{" * 100_000,
        "1/" * 500_000,
        "1 000" * 200_000,
    ],
)
@pytest.mark.no_cover
def test_size_is_bounded_before_anything_is_computed(text: str) -> None:
    start = time.perf_counter()
    assert parse_exact(text) is None
    assert time.perf_counter() - start < allowed(0.5)
