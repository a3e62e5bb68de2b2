"""Pages in Chromium, driven by playwright: one browser for a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.audit.browser import browser

DESKTOP, PHONE = 1280, 360


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser of the system, or skip with the command that installs it."""
    program = browser()
    with sync_playwright() as started:
        made = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


@dataclass
class Opened:
    """A page in the browser, and what its console said: errors of scripts, and refusals of the security policy."""

    page: Page
    said: list[str]

    def ask(self, script: str) -> Any:
        """Return what JavaScript in the page says."""
        return self.page.evaluate(script)


@contextmanager
def opened(browser: Browser, file: Path, width: int, *, dark: bool = False) -> Iterator[Opened]:
    """Open a file as wide as a screen."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    yield Opened(page, said)
    context.close()
