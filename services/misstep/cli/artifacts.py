"""``misstep artifacts``: what lies in a store, taking it out, and removing what nobody needs."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from misstep.cli.cache import cache
from misstep.cli.common import (
    DEFAULT_STORE,
    DataOption,
    ModelOption,
    StorageOption,
    console,
    find_run,
    load,
    make_plan,
    plain_table,
    size_text,
    storage_from,
    store_of,
)
from misstep.cli.places import CaBundle, Endpoint, LocalStoreUri, PathStyle, Region
from misstep.errors import EXIT_BAD_INPUT

if TYPE_CHECKING:
    from misstep.plan.planner import Plan
    from misstep.store.base import Store

KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="An artifact's key, or as much of it as tells it apart.")
]

artifacts = typer.Typer(help="Look into a store, take things out, and remove what nobody needs.", no_args_is_help=True)
artifacts.add_typer(cache, name="cache")


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(artifacts, name="artifacts", rich_help_panel="Tools")


def _open(uri: str, endpoint: str | None, region: str | None, path_style: bool, ca_bundle: str | None) -> Store:
    from misstep.store.open import open_store

    store = open_store(storage_from(uri, endpoint, region, path_style, ca_bundle))
    store.check()
    return store


@artifacts.command("ls")
def list_artifacts(
    storage: LocalStoreUri = DEFAULT_STORE,
    endpoint: Endpoint = None,
    region: Region = None,
    path_style: PathStyle = False,
    ca_bundle: CaBundle = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List artifacts, committed and unfinished.

    [dim]misstep artifacts ls --storage s3://my-bucket/misstep[/dim]
    """
    from dataclasses import asdict

    from misstep.artifacts.inspect import ls, teacher_requests, uploads_in

    store = _open(storage, endpoint, region, path_style, ca_bundle)
    found = ls(store)
    if as_json:
        print(json.dumps([asdict(info) for info in found], indent=2))
        return
    table = plain_table("key", "made as", "state", "rows", "size", "changed", keep=2)
    for info in found:
        state = (
            "foreign"
            if info.foreign
            else "damaged"
            if info.damaged
            else "done"
            if info.committed
            else f"{info.blocks_done}/{info.blocks or '?'} blocks"
        )
        rows = ", ".join(f"{count:,} {name}" for name, count in info.rows.items())
        changed = datetime.datetime.fromtimestamp(info.modified, datetime.UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(info.key, info.name, state, rows, size_text(info.stored), changed)
    out = console()
    out.print(table)
    out.print(f"\n{len(found)} artifacts, {size_text(sum(info.stored for info in found))}")
    answers, held = teacher_requests(store)
    if answers:
        out.print(f"{answers:,} answers of teachers, {size_text(held)}: paid for, and kept for whatever asks the same")
    uploads = uploads_in(store)
    if uploads:
        held = sum(entry.size for entries in uploads.values() for entry in entries)
        out.print(f"{len(uploads):,} uploaded copies of data and models, {size_text(held)}")


@artifacts.command()
def show(
    key: KeyArgument,
    storage: LocalStoreUri = DEFAULT_STORE,
    endpoint: Endpoint = None,
    region: Region = None,
    path_style: PathStyle = False,
    ca_bundle: CaBundle = None,
) -> None:
    """Print an artifact's manifest: parameters, inputs, files, counts, tool versions.

    Training rows that a model was shown follow as text, on standard error: what is on standard output is JSON. A
    manifest that is not of the stage that the key names is printed all the same, and the command fails.

    [dim]misstep artifacts show credit-3f[/dim]
    """
    from misstep.artifacts.inspect import find_key
    from misstep.artifacts.inspect import show as manifest_of
    from misstep.artifacts.manifest import Foreign
    from misstep.cli.shown import print_shown
    from misstep.printable import printable_json

    store = _open(storage, endpoint, region, path_style, ca_bundle)
    key = find_key(store, key)
    manifest = manifest_of(store, key)
    print(printable_json(manifest))
    if manifest.get("foreign"):
        raise Foreign(store, key, manifest["foreign"])
    shown = manifest.get("summary", {}).get("shown")
    if shown:
        print_shown(shown, console(stderr=True))


@artifacts.command()
def verify(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY...]", help="Which artifacts; all by default.")
    ] = None,
    storage: LocalStoreUri = DEFAULT_STORE,
    endpoint: Endpoint = None,
    region: Region = None,
    path_style: PathStyle = False,
    ca_bundle: CaBundle = None,
) -> None:
    """Check every byte of artifacts, and that each manifest is of the stage that its key names. Changes nothing.

    [dim]misstep artifacts verify --storage s3://my-bucket/misstep[/dim]
    """
    from misstep.artifacts.inspect import artifacts_in, find_key
    from misstep.artifacts.repair import find_damage
    from misstep.cli.terminal import say

    store = _open(storage, endpoint, region, path_style, ca_bundle)
    asked = [find_key(store, key) for key in keys] if keys else sorted(artifacts_in(store))
    wrong = 0
    for key in asked:
        problems = find_damage(store, key)
        wrong += bool(problems)
        for path, problem in problems.items():
            say(f"{path}: {problem}")
    print(f"{len(asked)} artifacts, {wrong} of them with problems")
    if wrong:
        raise typer.Exit(EXIT_BAD_INPUT)


@artifacts.command()
def export(
    key: KeyArgument,
    out: Annotated[Path, typer.Option(metavar="PATH", help="File or folder to write; it must not exist.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="jsonl, csv, hf (data set folder for Hugging Face datasets), model (its folder) or files (all).",
        ),
    ] = "jsonl",
    table: Annotated[str | None, typer.Option(metavar="TABLE", help="Which table, where there are several.")] = None,
    storage: LocalStoreUri = DEFAULT_STORE,
    endpoint: Endpoint = None,
    region: Region = None,
    path_style: PathStyle = False,
    ca_bundle: CaBundle = None,
) -> None:
    """Write an artifact's table, model or files where other programs can read them.

    [dim]misstep artifacts export pairs-9a1 --format hf --out my-pairs[/dim]
    """
    from misstep.artifacts.export import export as write
    from misstep.artifacts.inspect import find_key

    store = _open(storage, endpoint, region, path_style, ca_bundle)
    write(store, find_key(store, key), table, form, out)  # type: ignore[arg-type]  # it names the choices itself
    print(f"written to {out}")


@artifacts.command()
def gc(
    keep: Annotated[list[str], typer.Argument(metavar="FILE|NAME...", help="Experiments whose artifacts stay.")],
    apply: Annotated[bool, typer.Option("--apply", help="Remove; without it only say what would go.")] = False,
    grace_hours: Annotated[int, typer.Option(min=0, help="Leave what was written in the last so many hours.")] = 24,
    data: DataOption = None,
    model: ModelOption = None,
    storage: StorageOption = None,
) -> None:
    """Remove what none of the given experiments reaches, uploaded copies too. A dry run unless --apply is given.

    Name every experiment whose results you want to keep; they must share one store.

    [dim]misstep artifacts gc quickstart my-experiment.yaml --apply[/dim]
    """
    from misstep.artifacts.gc import apply_gc, plan_gc

    plans = [_plan_of(which, data, model, storage) for which in keep]
    _one_store(plans)
    store = store_of(plans[0])
    reachable = {stage.key for plan in plans for stage in plan.stages}
    outside = {e.digest for plan in plans for stage in plan.stages for e in stage.externals.values()}
    removals = plan_gc(store, reachable, external_digests=outside, grace_seconds=3600.0 * grace_hours)
    for removal in removals:
        what = f"{len(removal.paths)} objects, {size_text(removal.size)}"
        print(f"{removal.key or 'temporary files'}: {removal.reason} ({what})")
    if apply:
        print(f"removed {size_text(apply_gc(store, removals))}")
    else:
        total = size_text(sum(removal.size for removal in removals))
        print(f"would remove {total} in {len(removals)} places; --apply does it")


def _plan_of(which: str, data: list[str] | None, model: list[str] | None, storage: str | None) -> Plan:
    if Path(which).suffix in (".yaml", ".yml"):
        return make_plan(load(Path(which), storage), data, model)
    return find_run(which, None)[1]


def _one_store(plans: list[Plan]) -> None:
    from misstep.errors import BadInput

    uris = sorted({plan.storage.uri for plan in plans})
    if len(uris) > 1:
        raise BadInput("experiments", ", ".join(uris), "They live in different stores: clean one store at a time.")
