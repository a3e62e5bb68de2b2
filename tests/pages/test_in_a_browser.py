"""The report and the comparison as people meet them: on a desktop, on a phone, by keyboard, by ear, without colours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from misstep.comparison.compared import MOST, Compared
from misstep.comparison.looks import styles_of
from misstep.comparison.page import comparison_page
from misstep.comparison.settings import Setting
from misstep.evaluation.style import MARKERS, SERIES, arm_styles
from tests.audit.browser import hostile, listening
from tests.evaluation.conftest import Made, make_report
from tests.pages.browsing import DESKTOP, PHONE, Opened, chromium, opened
from tests.pages.colours import EYES, distance

SMALL: dict[str, Any] = {"test_problems": 120, "negatives": 40, "bootstrap": 100, "sft_sizes": (125, 250, 500)}
BETA = Setting("spec.training.dpo.beta", "dpo-step")
APART = 15.0
"""The least distance of two colours in CIELAB. Two that are 2.3 apart can just be told apart where they touch."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_report(tmp_path_factory.mktemp("world"), **SMALL)


@pytest.fixture(scope="module")
def compared(made: Made) -> list[Compared]:
    one = Compared("first", made.results, {BETA: 0.1})
    fewer = one.results.model_copy(update={"test_problems": 60, "cells": one.results.cells[:-1]})
    return [one, Compared("second", fewer, {BETA: 0.3}), Compared("third", fewer, None)]


@pytest.fixture(scope="module")
def pages(made: Made, compared: list[Compared], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    texts = {"report": made.html, "comparison": comparison_page(compared)}
    return {name: written(folder, name, text) for name, text in texts.items()}


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.html"
    file.write_text(text, encoding="utf-8")
    return file


FOCUSED = """(() => {
  const found = document.activeElement, style = getComputedStyle(found);
  return [found.tagName, found.getAttribute('aria-label') || found.textContent.trim().slice(0, 40),
          style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
})()"""
FOCUSABLE = """[...document.querySelectorAll('a[href], summary, button, input, [tabindex="0"]')]
  .filter(e => e.checkVisibility())
  .map(e => [e.tagName, e.getAttribute('aria-label') || e.textContent.trim().slice(0, 40)])"""


@pytest.mark.parametrize(("width", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone-dark"])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_it_can_be_read_and_used(browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    with opened(browser, pages[name], width, dark=dark) as found:
        assert found.ask("[document.documentElement.scrollWidth, document.documentElement.scrollHeight > 1000]") == [
            width,
            True,
        ]
        assert _violations(found) == []
        _has_structure(found, name)
        _is_used_by_keyboard(found)
        assert found.said == []


def _violations(found: Opened) -> list[str]:
    response = Axe().run(found.page).response
    assert len(response["passes"]) > 15  # it has looked
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in response["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def _has_structure(found: Opened, name: str) -> None:
    """What a screen reader goes by: language, title, landmarks, headings in order, and pictures that have names."""
    assert found.ask("document.documentElement.lang") == "en"
    assert found.page.title().endswith(f"Misstep {name}")
    assert found.ask("document.querySelectorAll('main').length") == 1
    levels = found.ask(
        "[...document.querySelectorAll('h1, h2, h3, h4')].filter(e => e.checkVisibility()).map(e => +e.tagName[1])"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    pictures = found.ask(
        "[...document.querySelectorAll('svg')].filter(e => e.checkVisibility())"
        ".map(e => [e.getAttribute('role'), e.getAttribute('aria-label').length > 10, e.clientWidth])"
    )
    assert len(pictures) == {"report": 4, "comparison": 2}[name]
    assert all(role == "img" and named and wide > 250 for role, named, wide in pictures)
    tables = found.ask("[...document.querySelectorAll('table')].filter(e => !e.tHead || !e.tHead.rows.length).length")
    assert tables == 0  # each has headings of its columns


def _is_used_by_keyboard(found: Opened) -> None:
    wanted = found.ask(FOCUSABLE)
    assert wanted
    reached = []
    for _ in wanted:
        found.page.keyboard.press("Tab")
        tag, text, seen = found.ask(FOCUSED)
        assert seen, f"{tag} {text} has the focus, and does not show it"
        reached.append([tag, text])
    assert reached == wanted


def test_a_violation_would_be_found(browser: Browser, tmp_path: Path) -> None:
    """Otherwise the test above shows nothing."""
    bad = "<title>x</title><main><img src='data:,'><p style='color: #aaa'>text</p></main>" + "<p>more</p>" * 3
    with opened(browser, written(tmp_path, "bad", bad), DESKTOP) as found:
        ids = {one["id"] for one in Axe().run(found.page).response["violations"]}
    assert {"image-alt", "color-contrast", "html-has-lang"} <= ids


def test_hostile_text_is_shown_and_does_nothing(browser: Browser, compared: list[Compared], tmp_path: Path) -> None:
    with listening() as (url, asked):
        poison = hostile(url)
        cells = tuple(c.model_copy(update={"arm": c.arm + poison}) for c in compared[0].results.cells)
        results = compared[0].results.model_copy(
            update={"title": poison, "headline": poison, "cells": cells, "yardstick": cells[0].arm}
        )
        settings = {Setting(poison, poison): poison, Setting("spec.seeds"): [poison], BETA: 1}
        poisoned = [
            Compared(f"one{poison}", results, settings, poison),
            Compared(f"two{poison}", results, dict.fromkeys(settings, 2), poison),
        ]
        file = written(tmp_path, "hostile", comparison_page(poisoned))
        with opened(browser, file, DESKTOP) as found:
            found.page.wait_for_timeout(300)
            assert found.page.title().startswith("one</pre>")
            tags = set(found.ask("[...document.querySelectorAll('*')].map(e => e.tagName.toLowerCase())"))
            assert not tags & {"script", "img", "iframe", "link", "a", "object", "embed", "base", "form"}
            assert found.said == []
            assert "<script>document.title='ran'</script>" in found.page.inner_text("main")
        assert asked == []


def test_the_policy_refuses_what_escaping_would_let_through(browser: Browser, pages: dict[str, Path]) -> None:
    text = pages["report"].read_text("utf-8")
    with listening() as (url, asked):
        planted = text.replace("<main>", f"<main><script>document.title='ran'</script><img src='{url}/img'>", 1)
        file = written(pages["report"].parent, "planted", planted)
        with opened(browser, file, DESKTOP) as found:
            found.page.wait_for_timeout(300)
            assert found.page.title() != "ran"
            assert sum("Content Security Policy" in text for text in found.said) >= 2
        assert asked == []


def test_colours_can_be_told_apart_by_every_eye(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["report"], DESKTOP) as found:
        rgb = found.ask("[...document.querySelectorAll('.arms .dot')].map(e => getComputedStyle(e).backgroundColor)")
    shown = ["#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", one)[:3]) for one in rgb]
    assert len(set(shown)) == len(shown) == 6
    for eye in EYES:
        for one, other in combinations({*shown, *SERIES}, 2):
            assert distance(one, other, eye) > APART, (one, other, eye)


def test_nobody_needs_colours_to_tell_series_apart(compared: list[Compared]) -> None:
    many = [replace(compared[0], name=f"e{i}") for i in range(MOST)]
    looks = [(style.marker, style.fill) for styles in styles_of(many) for style in styles.values()]
    assert len(set(looks)) == len(looks)
    assert len({styles["sft"].dashes for styles in styles_of(many)}) == MOST
    markers = [style.marker for arm, style in arm_styles(compared[0].results).items() if arm != "sft"]
    assert len(set(markers)) == len(markers) <= len(MARKERS)
