"""``misstep inspect-model``: how a run would use a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from misstep.cli.experiments import load
from misstep.errors import BadInput


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect-model", rich_help_panel="Prepare")(inspect_model)


def inspect_model(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Model folder, or hf://org/name, hf://org/name@revision.", show_default=False
        ),
    ],
    experiment: Annotated[
        Path | None,
        typer.Option(
            "--experiment",
            metavar="FILE",
            help="Use the prompt and the step rule of this Experiment.",
            show_default="the chat template where there is one, else plain",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", metavar="NAME", help="Use this prompt: gsm8k-base, math-chat, ...", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check a model, and show how a run would use it.

    Shows a prompt and a response as the model sees them, the tokens that end a sample, steps, parameters, and what is
    unusual. Reads no weights: of a model on the Hub it fetches the configuration, the tokenizer and the headers of the
    weights. A model that cannot be used is refused, with the reason (exit code 64).

    [dim]misstep inspect-model models/my-base-model[/dim]

    [dim]misstep inspect-model hf://Qwen/Qwen2.5-Math-1.5B --preset math-base[/dim]
    """
    from misstep.api.models import POLICY, request_of
    from misstep.cli.terminal import say
    from misstep.inspection.apart import inspect_apart
    from misstep.plan.extras import need
    from misstep.printable import printable_json

    need("misstep inspect-model", "training")
    request: dict[str, Any] = {"uri": model, "model_field": POLICY, "guess_prompt": True}
    if experiment is not None:
        request |= request_of(load(experiment))
    if preset is not None:
        request["prompt"] = _preset(preset)
    answer = inspect_apart(request)
    say(printable_json(answer["report"]) if as_json else answer["page"], end="")


def _preset(name: str) -> dict[str, Any]:
    from misstep.plan.presets import PRESETS

    if name not in PRESETS:
        raise BadInput("--preset", name, f"Write one of {', '.join(PRESETS)}.")
    return PRESETS[name].prompt.model_dump(mode="json")
