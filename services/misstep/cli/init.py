"""``misstep init``: write an Experiment to start from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from misstep.cli.starts import STARTS, gsm8k_files, quickstart_files
from misstep.errors import BadInput
from misstep.text import did_you_mean


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Prepare")(init)


def init(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="What to write: quickstart or gsm8k.", show_default=False)
    ] = None,
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to write it.")] = Path(),
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="For gsm8k: hf://ORG/NAME, hf://ORG/NAME@REVISION, or a model folder.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="PRESET",
            help="For gsm8k: the prompt, gsm8k-base, gsm8k-few-shot or gsm8k-chat.",
            show_default="gsm8k-base",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List what can be written, and stop.")] = False,
) -> None:
    """Write an Experiment to start from, and say what to do next.

    A model on the Hub is written with its commit, so that results can be repeated.
    Files that are there stay as they are, and nothing is written beside them, unless --force is given.

    [dim]misstep init quickstart && misstep run quickstart.yaml[/dim]

    [dim]misstep init gsm8k my-gsm8k --model hf://Qwen/Qwen2.5-Math-1.5B[/dim]

    [dim]misstep init gsm8k --model models/my-chat-model --preset gsm8k-chat[/dim]
    """
    if listed or name is None:
        _list()
    elif name == "quickstart":
        for option, value in (("--model", model), ("--preset", preset)):
            if value is not None:
                raise BadInput(option, value, "The quickstart has a model and a prompt of its own: leave this out.")
        _write(folder, quickstart_files(), force)
        _next("five to ten minutes on two cores", [f"misstep run {_shown(folder / 'quickstart.yaml')}"])
    elif name == "gsm8k":
        if model is None:
            raise BadInput("--model", "not given", "Write --model hf://ORG/NAME, or --model FOLDER.")
        preset = preset or "gsm8k-base"
        _write(folder, gsm8k_files(model, preset, folder), force)
        file = _shown(folder / "gsm8k.yaml")
        commands = [
            f"misstep inspect-model {shlex.quote(model)} --preset {preset}   # how a run reads the model",
            f"misstep plan {file}   # what it will cost, and whether it fits",
            f"misstep run {file}",
        ]
        _next("read the file first, its comments say what to change", commands)
    else:
        raise BadInput("NAME", name, did_you_mean(name, STARTS, f"Write one of {', '.join(STARTS)}."))


def _list() -> None:
    from misstep.cli.terminal import console, plain_table

    table = plain_table("name", "what it is")
    for name, about in STARTS.items():
        table.add_row(name, about)
    console().print(table)


def _write(folder: Path, files: Mapping[str, bytes], force: bool) -> None:
    """Write files, none of them where one is there that differs. Raises BadInput."""
    from misstep.store.disk import disk_errors

    with disk_errors("FOLDER", str(folder)):
        for name, content in files.items():
            path = folder / name
            if path.exists() and not force and not (path.is_file() and path.read_bytes() == content):
                fix = "It is there already, with other content. Name another folder, or overwrite it with --force."
                raise BadInput("FOLDER", str(path), fix)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    shown = dict.fromkeys(f"{name.partition('/')[0]}/" if "/" in name else name for name in files)
    print(f"wrote {', '.join(_shown(folder / name) + ('/' if name.endswith('/') else '') for name in shown)}")


def _next(why: str, commands: list[str]) -> None:
    """Print the commands to run next, and how to install what they need where it is missing."""
    from misstep.plan.extras import missing

    print(f"\nNext ({why}):")
    if missing("local"):
        commands = ['pip install "misstep[local]"   # what runs stages is not installed here', *commands]
    print("\n".join(f"  {command}" for command in commands))


def _shown(path: Path) -> str:
    return shlex.quote(str(path))
