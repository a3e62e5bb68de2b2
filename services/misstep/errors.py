"""The two kinds of error that Misstep raises on purpose, and the exit code of each."""

from __future__ import annotations

from misstep.printable import printable

EXIT_BAD_INPUT = 64
"""sysexits' EX_USAGE: the input is wrong, so running again cannot help (Jobs never retry it)."""
EXIT_FAILED = 1


class MisstepError(Exception):
    """Base of every error that Misstep raises on purpose; its text is meant for the user.

    It may quote data, models, names in a store and answers of servers. Control characters in it are replaced, because a
    terminal would interpret them.
    """

    exit_code = EXIT_FAILED

    def __init__(self, text: str = "") -> None:
        super().__init__(printable(text))


class BadInput(MisstepError):
    """Something from outside is wrong: say which field, what it holds, and how to fix it.

    Args:
        field: path of the offending field, file or column, e.g. ``spec.credit.rollouts``.
        value: its current value; shortened when printed.
        fix: what to write or do instead, as one sentence; empty where the value already says it.
    """

    exit_code = EXIT_BAD_INPUT

    def __init__(self, field: str, value: object, fix: str) -> None:
        self.field = field
        self.value = value
        self.fix = fix
        super().__init__(f"{field}: {_shorten(value)}. {fix}".strip())


def _shorten(value: object, limit: int = 200) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
