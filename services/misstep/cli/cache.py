"""``misstep artifacts cache``: models of remote stores that this machine keeps."""

from __future__ import annotations

import datetime

import typer

from misstep.cli.experiments import console, plain_table
from misstep.text import size_text

cache = typer.Typer(help="Look at the models that this machine keeps, or remove them.", no_args_is_help=True)


@cache.command("ls")
def list_cache() -> None:
    """List models of remote stores that are kept on this machine, in MISSTEP_CACHE.

    [dim]misstep artifacts cache ls[/dim]
    """
    from misstep.artifacts.cache_entries import entries_in
    from misstep.artifacts.model_cache import ModelCache

    root = ModelCache.of_environment().root
    table = plain_table("model", "size", "last used", "in use")
    total = 0
    for entry in sorted(entries_in(root), key=lambda entry: entry.last_used()):
        size = entry.size() or 0
        total += size
        used = datetime.datetime.fromtimestamp(entry.last_used(), datetime.UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(f"sha256:{entry.name}", size_text(size), used, "yes" if entry.in_use() else "")
    out = console()
    out.print(table)
    out.print(f"\n{table.row_count} models, {size_text(total)}, in {root}", soft_wrap=True)


@cache.command()
def clear() -> None:
    """Remove the kept models that no stage uses now; the next stages fetch them again.

    [dim]misstep artifacts cache clear[/dim]
    """
    from misstep.artifacts.model_cache import ModelCache

    print(f"removed {size_text(ModelCache.of_environment().clear())}")
