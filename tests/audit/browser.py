"""A real browser without a window: Debian's chromium."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from tools.browser import find_browser

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--virtual-time-budget=2000",
)


def browser() -> str:
    """Return the program, or skip the test with the command that installs it."""
    found = find_browser()
    if found is not None:
        return found
    pytest.skip("no browser: `apt-get install chromium fonts-dejavu-core` installs one")


@dataclass
class Page(HTMLParser):
    """A document as the browser has it after everything has loaded."""

    source: str
    title: str = ""
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    pre: dict[str, list[str]] = field(default_factory=dict)
    """Class of ``pre`` elements -> their texts."""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("title", "pre"):
            self._open.append(tag)
        if tag == "pre":
            self._class = dict(attrs).get("class") or ""
            self.pre.setdefault(self._class, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "pre":
            self.pre[self._class][-1] += data
        elif self._open:
            self.title += data


def load(file: Path, profile: Path) -> Page:
    """Open a file, and return what the browser made of it."""
    return Page(_run(profile, "--dump-dom", file.as_uri()))


def screenshot(file: Path, profile: Path, *, dark: bool = False, width: int = 1000, height: int = 1200) -> Image.Image:
    """Open a file, and return how it looks."""
    picture = profile.parent / f"{file.stem}-{width}-{'dark' if dark else 'light'}.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    _run(profile, scheme, f"--window-size={width},{height}", f"--screenshot={picture}", file.as_uri())
    return Image.open(picture).convert("RGB")


def _run(profile: Path, *options: str) -> str:
    command = [browser(), *QUIET, f"--user-data-dir={profile}", *options]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def hostile(url: str) -> str:
    """Return text that does something in a careless page: it asks a server, or changes the title to ``ran``."""
    return (
        f"</pre></style></title></textarea><script>document.title='ran'</script><script src='{url}/script'></script>"
        f'<img src="{url}/img" onerror="document.title=\'ran\'"><svg onload="document.title=\'ran\'"></svg>'
        f"<style>@import '{url}/import'; body {{background: url({url}/background)}}</style>"
        f"<iframe src='{url}/frame'></iframe><link rel=stylesheet href='{url}/link'>"
        f"<a href=\"javascript:document.title='ran'\">click</a><meta http-equiv=refresh content='0;url={url}/meta'>"
        "\" onmouseover=\"document.title='ran'\" ' {{ 7*7 }} {% raw %} <!-- ]]> \u202egnp.\u2066 \x1b[31m \x00"
    )


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
