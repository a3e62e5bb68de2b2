"""The pages in a real browser: what it shows, and that no text on them does anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from misstep.audit.credit_read import Wanted, read_credit
from misstep.audit.page import credit_page, verdicts_page
from misstep.audit.verdicts_read import read_verdicts
from misstep.plan.kinds import StageKind
from misstep.printable import printable
from tests.audit.browser import Page, browser, hostile, listening, load, screenshot
from tests.audit.world import Finished

WANTED = Wanted(12)


@pytest.fixture(autouse=True)
def _browser() -> None:
    browser()


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return tmp_path / "profile"


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    with listening() as found:
        yield found


def poisoned(value: Any, poison: str) -> Any:
    """Add text to every text in the data of a page."""
    if isinstance(value, str):
        return value if value in ("q", "alive", "unknown") else value + poison
    if isinstance(value, tuple | list):
        return type(value)(poisoned(inner, poison) for inner in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: poisoned(getattr(value, f.name), poison) for f in fields(value)}
        return replace(value, **changed)
    return value


def pages(finished: Finished, poison: str = "") -> dict[str, str]:
    credit = read_credit(finished.tables(), finished.stages(StageKind.CREDIT), WANTED)
    groups = read_verdicts(finished.tables(), finished.stages(StageKind.VERIFY), 20)
    credit, groups = poisoned(credit, poison), poisoned(groups, poison)
    return {
        "credit": credit_page(f"small{poison}", credit, WANTED, [f"credit-later{poison}"]),
        "verdicts": verdicts_page(f"small{poison}", groups, 1, [f"verify-later{poison}"]),
    }


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.html"
    file.write_text(text, encoding="utf-8")
    return file


def does_nothing(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "img", "svg", "iframe", "link", "a", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") or name in ("href", "src") for name in attributes)
        assert "url(" not in (attributes.get("style") or "")


def test_the_browser_has_the_texts_of_all_steps(finished: Finished, tmp_path: Path, profile: Path) -> None:
    credit = read_credit(finished.tables(), finished.stages(StageKind.CREDIT), WANTED)
    made = pages(finished)
    page = load(written(tmp_path, "credit", made["credit"]), profile)
    shown = [one for stage in credit for one in (*stage.wrong, *stage.lucky)]
    assert len(shown) >= 12
    # The first line break of `pre` is no text in HTML; none of these steps begins with one.
    assert page.pre["text"] == [printable(step.text) for one in shown for step in one.steps]
    assert page.title == "Credit of small – Misstep"
    does_nothing(page)
    groups = read_verdicts(finished.tables(), finished.stages(StageKind.VERIFY), 20)
    page = load(written(tmp_path, "verdicts", made["verdicts"]), profile)
    assert page.pre["response"] == [printable(one.text) for group in groups for one in group.judged]
    does_nothing(page)


def test_what_would_run_in_a_careless_page_runs(tmp_path: Path, profile: Path, server: tuple[str, list[str]]) -> None:
    """Otherwise the test below shows nothing."""
    url, asked = server
    text = hostile(url).replace("http-equiv=refresh", "")
    page = load(written(tmp_path, "careless", f"<title>quiet</title><body>{text}"), profile)
    assert page.title == "ran"
    assert {"/img", "/script", "/link", "/frame"} <= set(asked)


@pytest.mark.parametrize("name", ["credit", "verdicts"])
def test_hostile_text_is_shown_and_does_nothing(
    finished: Finished, tmp_path: Path, profile: Path, server: tuple[str, list[str]], name: str
) -> None:
    url, asked = server
    html = pages(finished, hostile(url))[name]
    page = load(written(tmp_path, name, html), profile)
    assert page.title.startswith("Credit of small</pre>" if name == "credit" else "Verdicts of small</pre>")
    does_nothing(page)
    assert asked == []
    texts = page.pre["text" if name == "credit" else "response"]
    assert all(printable(hostile(url)) in text for text in texts)
    assert not set("\u202e\u2066\x1b\x00") & set(page.source)
    plain = load(written(tmp_path, "plain", pages(finished)[name]), profile)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]


@pytest.mark.parametrize("width", [1000, 400])
@pytest.mark.parametrize("name", ["credit", "verdicts"])
def test_it_can_be_read_in_light_and_dark_and_on_a_narrow_screen(
    finished: Finished, tmp_path: Path, profile: Path, name: str, width: int
) -> None:
    file = written(tmp_path, name, pages(finished)[name])
    papers = []
    for dark in (False, True):
        picture = screenshot(file, profile, dark=dark, width=width)
        assert picture.size == (width, 1200)
        colours = picture.getcolors(1 << 24) or []
        amount, paper = max(colours)
        assert len(colours) > 100
        assert 0.3 < amount / (width * 1200) < 0.97
        edge = picture.crop((width - 8, 0, width, 1200))
        assert edge.getcolors() == [(8 * 1200, paper)]  # nothing is wider than the screen
        assert isinstance(paper, tuple)
        papers.append(sum(paper))
    assert papers[0] > 3 * 200 > 3 * 60 > papers[1]


def test_a_very_long_word_stays_on_a_narrow_screen(finished: Finished, tmp_path: Path, profile: Path) -> None:
    file = written(tmp_path, "long", pages(finished, "w" * 5000)["credit"])
    edge = screenshot(file, profile, width=400).crop((392, 0, 400, 1200))
    assert len(edge.getcolors() or []) == 1
