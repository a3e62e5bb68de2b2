"""A tutorial as a list of commands, each with what the page says that one sees.

A block ``bash`` is commands. A block ``text`` after it is what they print, shortened: ``…`` stands for anything, a line
of it for any lines. A comment on the line before a block, which no reader sees, says what else a test must know:

- ``<!-- not run: REASON -->``: the commands need something that a test does not have.
- ``<!-- in a hurry -->``: commands that a reader may leave out; a short test runs them, a whole one does not.
- ``<!-- whole run -->``: commands, or printed lines, that only a whole test runs or compares.
- ``<!-- fails: 64 -->``: the commands end with this exit code.
- ``<!-- other figures -->``: every number in the printed lines stands for any number.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorials"
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_NOTES = re.compile(r"not run: .+|in a hurry|whole run|fails: \d+|other figures")
_ANY = "…"
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True)
class Printed:
    """Lines that the page shows."""

    text: str
    note: str

    def missing(self, output: str) -> list[str]:
        """Return the shown lines that are not in an output, in their order. Spaces need not be the same."""
        lines = [" ".join(line.split()) for line in output.splitlines()]
        absent, at = [], 0
        for shown in filter(None, (" ".join(line.split()) for line in self.text.splitlines())):
            if shown == _ANY:
                continue
            found = next((i for i in range(at, len(lines)) if self._pattern(shown).fullmatch(lines[i])), None)
            if found is None:
                absent.append(shown)
            else:
                at = found + 1
        return absent

    def _pattern(self, shown: str) -> re.Pattern[str]:
        parts = []
        for part in shown.split(_ANY):
            between = _NUMBER.split(part) if self.note == "other figures" else [part]
            parts.append(_NUMBER.pattern.join(map(re.escape, between)))
        return re.compile(".*".join(parts))


@dataclass(frozen=True)
class Commands:
    """Commands of one block, and what the page shows of their output."""

    text: str
    note: str
    printed: list[Printed] = field(default_factory=list)

    @property
    def code(self) -> int:
        return int(self.note.removeprefix("fails: ")) if self.note.startswith("fails: ") else 0

    def runs(self, *, whole: bool) -> bool:
        """Return whether a test runs them."""
        if self.note.startswith("not run: "):
            return False
        return {"in a hurry": not whole, "whole run": whole}.get(self.note, True)

    def lines(self) -> list[str]:
        """Return each command, without the text that is given to it (``<<'EOF'``)."""
        bare = re.sub(r"<<'(\w+)'(.*?)\n.*?^\1$", r"\2", self.text, flags=re.MULTILINE | re.DOTALL)
        return [line for line in bare.replace("\\\n", " ").splitlines() if line.strip()]


def read(name: str) -> list[Commands]:
    """Read a tutorial. Raises ValueError for a comment or a block that it does not know."""
    found: list[Commands] = []
    for block in _BLOCK.finditer((FOLDER / f"{name}.md").read_text()):
        note = block["note"] or ""
        if note and not _NOTES.fullmatch(note):
            raise ValueError(f"{name}: a comment before a block that means nothing: {note}")
        if block["kind"] == "bash":
            found.append(Commands(block["text"], note))
        elif block["kind"] == "text":
            found[-1].printed.append(Printed(block["text"], note))
        elif block["kind"] not in ("yaml", "mermaid"):
            raise ValueError(f"{name}: a block {block['kind']}, which no test reads")
    return found


def words(line: str) -> list[list[str]]:
    """Split a line of shell into its commands, each a list of words. Redirections are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if set(word) <= set("|&;()"):
            found.append([])
        elif set(word) <= set("<>"):
            skip = True
        elif skip:
            skip = False
        else:
            found[-1].append(word)
    return [command for command in found if command]
