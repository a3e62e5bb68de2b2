"""What every page has in common: one file without scripts and requests, safe against any text in it."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from misstep.evaluation import wording as w
from misstep.printable import printable

LONGEST_TEXT = 4000
"""The most characters of one text, such as a question or a step, that a page shows."""


def environment() -> Environment:
    """Return a template environment that escapes all text; the filter ``clean`` also makes it printable."""
    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    made.filters["clean"] = clean
    return made


def style() -> str:
    """Return the style sheet of the report, for light and dark screens, narrow ones and paper."""
    return files("misstep.evaluation").joinpath("report.css").read_text("utf-8")


def clean(text: object) -> str:
    """Make text printable: control and direction marks become a visible character, and very long text is cut."""
    shown = printable(text)
    more = len(shown) - LONGEST_TEXT
    return shown if more <= 0 else f"{shown[:LONGEST_TEXT]} … ({more:,} more characters)"


def value_bar(value: float | None, kind: str = "") -> Markup:
    """Draw a value from 0 to 1 as a bar with its number.

    Args:
        kind: the name of another look of the bar.
    """
    if value is None:
        return Markup('<span class="track"></span><span class="value">{}</span>').format(w.NONE)
    look = f"track {kind}".rstrip()
    bar = Markup('<span class="{}"><i style="width: {:.0f}%"></i></span><span class="value">{:.2f}</span>')
    return bar.format(look, 100 * value, value)
