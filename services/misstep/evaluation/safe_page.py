"""What every page has in common: one file without scripts and requests, safe against any text in it."""

from __future__ import annotations

from functools import partial
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from misstep.evaluation import wording as w
from misstep.printable import printable

_HERE = "misstep.evaluation"
LONGEST_TEXT = 4000
"""The most characters of one text, such as a question or a step, that a page shows."""


def environment(package: str = _HERE) -> Environment:
    """Return a template environment that escapes all text; the filter ``clean`` also makes it printable.

    Args:
        package: has the templates, in addition to the frame and the figures that all pages share.
    """
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=ChoiceLoader([FunctionLoader(partial(_template, name)) for name in dict.fromkeys((package, _HERE))]),
    )
    made.filters["clean"] = clean
    made.filters["times"] = lambda text: text.replace("x", "×")
    return made


def _template(package: str, name: str) -> str | None:
    file = files(package).joinpath(name)
    return file.read_text("utf-8") if file.is_file() else None


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
