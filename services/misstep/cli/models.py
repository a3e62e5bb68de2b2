"""``misstep inspect-model``, and the check of an Experiment's models before a plan is shown or run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misstep.cli.experiments import load
from misstep.errors import BadInput, MisstepError

if TYPE_CHECKING:
    from misstep.plan.frozen import FrozenStage
    from misstep.plan.planner import Plan
    from misstep.spec import Experiment
    from misstep.store.base import Store

POLICY, TEACHER = "spec.policy.model", "spec.teacher.model.model"


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
    from misstep.cli.terminal import say
    from misstep.inspection.apart import inspect_apart
    from misstep.plan.extras import need
    from misstep.printable import printable_json

    need("misstep inspect-model", "training")
    request: dict[str, Any] = {"uri": model, "model_field": POLICY, "guess_prompt": True}
    if experiment is not None:
        request |= _of_experiment(load(experiment))
    if preset is not None:
        request["prompt"] = _preset(preset)
    answer = inspect_apart(request)
    say(printable_json(answer["report"]) if as_json else answer["page"], end="")


def check_models(plan: Plan, experiment: Experiment, store: Store) -> list[str]:
    """Check the models of a plan before it runs, and return notes: what is unusual, and what was not checked here.

    A model whose check is committed in the store is not checked again.

    Raises:
        BadInput: a model cannot be used, or the check in the store is not that of its stage.
    """
    from misstep.artifacts.manifest import read_own
    from misstep.inspection.apart import inspect_apart
    from misstep.plan.extras import missing
    from misstep.plan.kinds import StageKind

    stages = [stage for stage in plan.stages if stage.kind is StageKind.INSPECT]
    passed = {stage.key for stage in stages if read_own(store, stage) is not None}
    notes: list[str] = []
    for stage in stages:
        if stage.key in passed:
            continue
        uri = stage.externals["model"].uri
        later = f"the stage {stage.name} checks {uri} before anything is trained"
        if missing("training"):
            notes.append(f'{later} (not here: it needs pip install "misstep[training]")')
            continue
        request = _of_stage(stage, experiment)
        try:
            found = inspect_apart(request)
        except BadInput:
            raise
        except MisstepError as error:
            notes.append(f"{later} (not here: {error})")
        else:
            notes += [f"{request['model_field']}: {sentence}" for sentence in found["report"]["unusual"]]
    return list(dict.fromkeys(notes))


def _of_stage(stage: FrozenStage, experiment: Experiment) -> dict[str, Any]:
    """Return the request that checks what a stage ``inspect`` checks, except the problems' text."""
    given = _of_experiment(experiment)
    teacher = stage.params["prompt"] is None
    return given | {
        "uri": stage.externals["model"].uri,
        "storage": stage.storage.model_dump(mode="json"),
        "model_field": TEACHER if teacher else POLICY,
        "prompt": stage.params["prompt"],
    }


def _of_experiment(experiment: Experiment) -> dict[str, Any]:
    from misstep.plan.translate import Translator

    translate = Translator(experiment.spec)
    credit = experiment.spec.credit
    steps = {"rule": credit.step_rule, "most": credit.max_steps, "stop": list(translate.decoding.stop)}
    return {"prompt": translate.prompt.model_dump(mode="json"), "steps": steps}


def _preset(name: str) -> dict[str, Any]:
    from misstep.plan.presets import PRESETS

    if name not in PRESETS:
        raise BadInput("--preset", name, f"Write one of {', '.join(PRESETS)}.")
    return PRESETS[name].prompt.model_dump(mode="json")
