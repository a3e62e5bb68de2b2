"""``misstep artifacts``: list, check, export and remove what is in a store, and in this machine's cache of models."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from misstep.api.opening import make_plan
from misstep.cli.experiments import find_run, load, named_folders, storage_from, store_of
from misstep.cli.options import (
    DEFAULT_STORE,
    CaBundleOption,
    DataOption,
    EndpointOption,
    ModelOption,
    PathStyleOption,
    RegionOption,
    StorageOption,
    StoreUriOption,
)
from misstep.errors import EXIT_BAD_INPUT
from misstep.text import size_text

if TYPE_CHECKING:
    from misstep.plan.planner import Plan
    from misstep.store.base import Store

KeyArgument = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="Key of an artifact, or so many of its first characters that no other begins with them."
    ),
]

artifacts = typer.Typer(help="List, check, export and remove what is in a store.", no_args_is_help=True)
cache = typer.Typer(help="List or remove the models that this machine keeps.", no_args_is_help=True)
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
    storage: StoreUriOption = DEFAULT_STORE,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    path_style: PathStyleOption = False,
    ca_bundle: CaBundleOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the artifacts of a store, finished and unfinished.

    [dim]misstep artifacts ls --storage s3://my-bucket/misstep[/dim]
    """
    from dataclasses import asdict

    from misstep.artifacts.inspect import ls, teacher_requests, uploads_in
    from misstep.cli.terminal import console, plain_table

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
        out.print(f"{answers:,} answers of teachers, {size_text(held)}: kept, so that no request is paid for twice")
    uploads = uploads_in(store)
    if uploads:
        held = sum(entry.size for entries in uploads.values() for entry in entries)
        out.print(f"{len(uploads):,} uploaded copies of data and models, {size_text(held)}")


@artifacts.command()
def show(
    key: KeyArgument,
    storage: StoreUriOption = DEFAULT_STORE,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    path_style: PathStyleOption = False,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Print an artifact's manifest: parameters, inputs, files, counts, tool versions.

    Standard output is JSON. Training rows that a model was shown are printed as text, on standard error. Where the
    manifest is not of the stage that the key names, it is printed and the command fails.

    [dim]misstep artifacts show credit-3f[/dim]
    """
    from misstep.artifacts.inspect import find_key
    from misstep.artifacts.inspect import show as manifest_of
    from misstep.artifacts.manifest import Foreign
    from misstep.cli.terminal import console, print_shown
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
        list[str] | None, typer.Argument(metavar="[KEY...]", help="Artifacts to check; all by default.")
    ] = None,
    storage: StoreUriOption = DEFAULT_STORE,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    path_style: PathStyleOption = False,
    ca_bundle: CaBundleOption = None,
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
            help="jsonl, csv, hf (folder for Hugging Face datasets), model (its folder), files (all files), "
            "trl-preference (of pairs), trl-stepwise (of credit) or trl-unpaired (of verify), as JSON lines.",
        ),
    ] = "jsonl",
    table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Table to export, where there are several.")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="For the formats of TRL: folder of the policy's tokenizer.",
            show_default="the policy in the store",
        ),
    ] = None,
    storage: StoreUriOption = DEFAULT_STORE,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    path_style: PathStyleOption = False,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Export an artifact's table, model or files for other programs.

    [dim]misstep artifacts export pairs-9a1 --format hf --out my-pairs[/dim]

    [dim]misstep artifacts export pairs-9a1 --format trl-preference --out pairs.jsonl[/dim]
    """
    from misstep.artifacts.export import export as write
    from misstep.artifacts.inspect import find_key
    from misstep.plan.extras import need

    trl = form in ("trl-preference", "trl-stepwise", "trl-unpaired")
    need("misstep artifacts export", "credit" if trl else "records")
    store = _open(storage, endpoint, region, path_style, ca_bundle)
    if trl:
        from misstep.credit.trl_export import export_trl

        rows, otherwise = export_trl(store, find_key(store, key), form, out, tokenizer)  # type: ignore[arg-type]
        print(f"{rows:,} rows; of {otherwise:,} TRL's tokens will differ from those that were sampled")
        print(f"written to {out}")
        return
    write(store, find_key(store, key), table, form, out)  # type: ignore[arg-type]  # it names the choices itself
    print(f"written to {out}")


@artifacts.command()
def gc(
    keep: Annotated[list[str], typer.Argument(metavar="FILE|NAME...", help="Experiments whose artifacts are kept.")],
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove; without it, only print what would be removed.")
    ] = False,
    grace_hours: Annotated[int, typer.Option(min=0, help="Keep what was written in the last so many hours.")] = 24,
    data: DataOption = None,
    model: ModelOption = None,
    storage: StorageOption = None,
) -> None:
    """Remove what none of the given experiments needs, uploaded copies too.

    Without --apply it removes nothing, and prints what it would remove. Name every experiment whose results you want
    to keep. All must use the same store.

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
        print(f"would remove {total} in {len(removals)} places; use --apply to remove them")


def _plan_of(which: str, data: list[str] | None, model: list[str] | None, storage: str | None) -> Plan:
    if Path(which).suffix in (".yaml", ".yml"):
        return make_plan(load(Path(which), storage), named_folders("--data", data), named_folders("--model", model))
    return find_run(which, None)[1]


def _one_store(plans: list[Plan]) -> None:
    from misstep.errors import BadInput

    uris = sorted({plan.storage.uri for plan in plans})
    if len(uris) > 1:
        raise BadInput("experiments", ", ".join(uris), "They use different stores: clean one store at a time.")


@cache.command("ls")
def list_cache() -> None:
    """List the models of remote stores that this machine keeps, in MISSTEP_CACHE.

    [dim]misstep artifacts cache ls[/dim]
    """
    from misstep.artifacts.cache_entries import entries_in
    from misstep.artifacts.model_cache import ModelCache
    from misstep.cli.terminal import console, plain_table

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
    """Remove the models that no stage uses now; later stages fetch them again.

    [dim]misstep artifacts cache clear[/dim]
    """
    from misstep.artifacts.model_cache import ModelCache

    print(f"removed {size_text(ModelCache.of_environment().clear())}")
