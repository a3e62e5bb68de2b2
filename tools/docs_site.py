"""Hooks of MkDocs: pages and files outside docs/ become part of the site, and links to them are kept.

Links in the pages are written for the repository, so that they work there: ``../charts/misstep/README.md`` from a page
in ``docs/``. A file outside ``docs/`` that a page links to, or that the navigation lists, gets its path in the
repository as its path in the site. MkDocs then checks the links as any others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = "docs/"
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?=\))")
_CODE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ that the navigation lists or that pages link to."""
    waiting = [(DOCS + file.src_uri, file.src_uri) for file in files.documentation_pages()]
    waiting += [(uri, uri) for uri in _listed(config.nav or []) if files.get_file_from_path(uri) is None]
    while waiting:
        path, uri = waiting.pop()
        if not (ROOT / path).is_file():
            continue  # MkDocs names the link or the entry of the navigation that leads nowhere
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
        if path.endswith(".md"):
            linked = (_target(path, link["path"]) for link in _LINK.finditer(_CODE.sub("", (ROOT / path).read_text())))
            waiting += [(one, one) for one in linked if _is_new(one, files)]
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Rewrite links between docs/ and the rest of the repository to paths of the site."""
    uri = page.file.src_uri
    path = relpath(str(page.file.abs_src_path), str(ROOT))

    def moved(link: re.Match[str]) -> str:
        target = _target(path, link["path"]).removeprefix(DOCS)
        if files.get_file_from_path(target) is None:
            return link[0]
        return relpath(target, dirname(uri) or ".") + (link["anchor"] or "")

    return _LINK.sub(moved, markdown)


def _listed(nav: object) -> Iterator[str]:
    """Yield the paths of a navigation, however deep."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict | list):
        for one in nav.values() if isinstance(nav, dict) else nav:
            yield from _listed(one)


def _target(path: str, link: str) -> str:
    """Return where a link of a file leads, as a path in the repository."""
    return normpath(f"{dirname(path)}/{link}").removeprefix("/")


def _is_new(path: str, files: Files) -> bool:
    return not path.startswith(DOCS) and files.get_file_from_path(path) is None
