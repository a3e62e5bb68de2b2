"""Write the pictures of the report and of a comparison that the docs show, from real runs.

It runs examples/quickstart.yaml, and a copy of it with another beta, which shares all stages before DPO. With a new
store that takes a quarter of an hour on two cores; what a store has is reused. Needs Chromium.

    python -m tools.screenshots [--storage URI] [--work DIR]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from tools.browser import PROGRAMS, find_browser

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
EXAMPLE = ROOT / "examples" / "quickstart.yaml"


def main() -> None:
    """Run, compare, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="file://.misstep/store", help="store of the runs")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "screenshots", help="folder for reports")
    options = parser.parse_args()
    program = find_browser()
    if program is None:
        sys.exit(f"error: no browser: none of {', '.join(PROGRAMS)} is installed")
    options.work.mkdir(parents=True, exist_ok=True)
    other = options.work / "quickstart-beta.yaml"
    text = EXAMPLE.read_text(encoding="utf-8").replace("      beta: 0.3", "      beta: 0.1")
    other.write_text(text.replace("  name: quickstart", "  name: quickstart-beta"), encoding="utf-8")
    folders = [options.work / "quickstart", options.work / "quickstart-beta"]
    for file, folder in zip((EXAMPLE, other), folders, strict=True):
        model = f"quickstart-base={EXAMPLE.with_name('quickstart-base')}"
        _misstep("run", file, "--model", model, "--storage", options.storage, "--work", folder, "--quiet")
    page = options.work / "comparison.html"
    _misstep("compare", *folders, "--out", page)
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, file, at in (
            ("report", folders[0] / "report.html", "h1"),
            ("comparison", page, "h2:text('Settings that differ')"),
        ):
            _take(browser, file, f"{name}.png", (1000, 900), at)
            _take(browser, file, f"{name}-phone.png", (360, 740), at)
        browser.close()


def _misstep(*argv: object) -> None:
    subprocess.run([sys.executable, "-m", "misstep", *map(str, argv)], check=True)


def _take(browser: Browser, file: Path, name: str, size: tuple[int, int], at: str) -> None:
    """Take a picture of what stands at an element."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(file.resolve().as_uri())
    page.locator(at).first.evaluate("e => window.scrollTo(0, e.getBoundingClientRect().top + scrollY - 48)")
    target = PICTURES / name
    page.screenshot(path=target)
    page.close()
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
