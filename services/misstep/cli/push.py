"""``misstep push``: upload a model or a data set of an experiment to the Hugging Face Hub, with its card."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misstep.cli.aside import aside
from misstep.cli.opened import Opened, open_experiment
from misstep.cli.options import CaBundleOption, EndpointOption, NamespaceOption, WhichArgument, WorkOption
from misstep.errors import BadInput
from misstep.text import size_text

if TYPE_CHECKING:
    from misstep.publishing.choose import Choice
    from misstep.publishing.folder import Request

_NOWHERE = "ORG/NAME"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Share")(push)


def push(
    which: WhichArgument,
    arm: Annotated[str | None, typer.Option(metavar="ARM", help="Whose model, or whose data.")] = None,
    size: Annotated[
        int | None, typer.Option(metavar="D", help="Number of training problems.", show_default="the largest")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Seed.", show_default="the lowest")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="Instead of a model: pairs, credit or samples, in TRL's formats."),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Repository on the Hub.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public, not private.")] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            "--license", metavar="ID", help="Licence, by the Hub's identifier.", show_default="left to you in the card"
        ),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(metavar="ORG/NAME", help="The base model's name on the Hub, where the YAML has a folder."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace everything in a repository that holds something else.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the folder, and upload nothing.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For --dry-run: the folder; it must not exist.", show_default="in --work"),
    ] = None,
    work: WorkOption = None,
    namespace: NamespaceOption = None,
    endpoint: EndpointOption = None,
    ca_bundle: CaBundleOption = None,
) -> None:
    """Upload a model of an experiment to the Hugging Face Hub, or the data that it learned from, with a card.

    The card is made from what was measured: base model, data, settings, results with intervals, and what they do not
    show.
    A new repository is private.
    The token is taken from HF_TOKEN, or from `hf auth login`.

    [dim]misstep push quickstart --arm dpo-step --dry-run[/dim]

    [dim]misstep push quickstart --arm dpo-step --to my-org/quickstart-dpo-step --license apache-2.0[/dim]

    [dim]misstep push quickstart --arm dpo-step --data pairs --to my-org/quickstart-pairs[/dim]
    """
    from misstep.plan.extras import need

    need("misstep push", "hub", *(["credit"] if data else []))
    from misstep.publishing.choose import What, choose
    from misstep.publishing.folder import Request
    from misstep.publishing.hub import check_name

    _check_options(data, to, dry_run, out)
    for name in (to, base_model):
        if name is not None:
            check_name(name)
    opened = open_experiment("misstep push", which, work, namespace, endpoint, ca_bundle)
    choice = choose(opened.plan, What(data) if data else What.MODEL, arm, size, seed)
    _say_choice(choice)
    document, origin = document_of(which, opened)
    request = Request(
        plan=opened.plan,
        choice=choice,
        document=document,
        origin=origin,
        repository=to or _NOWHERE,
        licence=licence,
        base_model=base_model,
        again=_again(opened, origin),
        private=tuple(_private(opened)),
    )
    if dry_run or to is None:
        _write(opened, request, out)
    else:
        _push(opened, request, public=public, force=force)


def _check_options(data: str | None, to: str | None, dry_run: bool, out: Path | None) -> None:
    from misstep.publishing.choose import What

    known = [what.value for what in What if what is not What.MODEL]
    if data is not None and data not in known:
        raise BadInput("--data", data, f"Write one of {', '.join(known)}.")
    if to is None and not dry_run:
        raise BadInput("--to", "not given", "Name the repository, or use --dry-run to write the folder only.")
    if out is not None and not dry_run:
        raise BadInput("--out", str(out), "Use it with --dry-run.")


def _say_choice(choice: Choice) -> None:
    point = choice.point
    aside(f"{choice.what.value}: {choice.stage.name} ({point.size:,} training problems, seed {point.seed})")
    if choice.others:
        shown = "; ".join(choice.others[:6]) + ("; ..." if len(choice.others) > 6 else "")
        aside(f"there are also: {shown} (--size, --seed)")


def _write(opened: Opened, request: Request, out: Path | None) -> None:
    from misstep.artifacts.export import appears_when_done
    from misstep.publishing.folder import write_folder

    folder = out or opened.workdir.root / "push" / request.choice.name
    if out is None and folder.exists():
        shutil.rmtree(folder)  # of an earlier --dry-run
    with opened.store() as store, appears_when_done(folder) as partial:
        write_folder(store, request, partial)
    _say_files(folder)
    print(f"written to {folder}; nothing was uploaded")


def _push(opened: Opened, request: Request, *, public: bool, force: bool) -> None:
    from huggingface_hub.utils import disable_progress_bars

    from misstep.publishing.choose import What
    from misstep.publishing.folder import write_folder
    from misstep.publishing.hub import look, upload

    if not sys.stderr.isatty():
        disable_progress_bars()
    # Beside the results of the run, not in /tmp: a model may be large.
    opened.workdir.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="push-", dir=opened.workdir.root) as scratch:
        folder = Path(scratch) / "folder"
        with opened.store() as store:
            write_folder(store, request, folder)
        kind = "model" if request.choice.what is What.MODEL else "dataset"
        target = look(request.repository, kind, folder, public=public, force=force)  # type: ignore[arg-type]
        _say_files(folder)
        aside(f"to {target.said}" + (f", which holds {target.replaces}" if target.replaces else ""))
        for name in target.removed:
            aside(f"removed there: {name}")
        if target.private and target.commit is None:
            aside("it is private: --public makes a new one public, and its settings on the Hub change that later")
        if request.licence is None:
            aside("the card has no licence: give --license ID, or write it there")
        print(upload(target, folder, f"Misstep: {request.choice.stage.name}", aside))


def _say_files(folder: Path) -> None:
    from misstep.cli.terminal import console, plain_table
    from misstep.publishing.folder import files_in

    table = plain_table("file", "size")
    files = files_in(folder)
    for name, path in files.items():
        table.add_row(name, size_text(path.stat().st_size))
    out = console(stderr=True)
    out.print(table)
    out.print(f"{len(files)} files, {size_text(sum(path.stat().st_size for path in files.values()))}")


def document_of(which: str, opened: Opened) -> tuple[dict[str, Any], str]:
    """Return the Experiment's document, and where it is. Raises BadInput where it is not there any more."""
    from misstep.cli.cluster import InCluster
    from misstep.spec.load import read_document

    if opened.namespace is not None:
        return InCluster.find(opened.namespace, which).document, which
    if Path(which).is_file():
        return read_document(Path(which)), which
    file = (opened.workdir.read_run() or {}).get("file")
    if not file or not Path(file).is_file():
        raise BadInput("experiment", which, "The YAML that it ran from is not there any more: give the YAML's path.")
    return read_document(Path(file)), str(file)


def _again(opened: Opened, origin: str) -> str:
    return f"misstep run {shlex.quote(origin)}" if opened.namespace is None else opened.status_command


def _private(opened: Opened) -> list[tuple[str, str]]:
    """List what no uploaded text may hold."""
    from huggingface_hub import get_token

    from misstep.publishing.shared_yaml import externals_of

    places = [external.uri for external in externals_of(opened.plan).values() if not external.uri.startswith("hf://")]
    storage = opened.storage
    store = "the place of the store"
    known = [(store, storage.uri), (store, storage.uri.removeprefix("file://")), (store, storage.endpoint)]
    known += [("the place of data or of a model", place) for place in places]
    known += [("a folder of this machine", str(Path.home())), ("a folder of this machine", str(Path.cwd()))]
    return [(what, text) for what, text in (*known, ("your token", get_token())) if text]
