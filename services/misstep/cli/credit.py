"""``misstep credit``: credit a file of responses, without an Experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from misstep.plan.params import PromptParams

_INPUT, _PROMPT, _CREDIT, _SAMPLING, _RUN = "What the file holds", "Prompt", "Credit", "Rollouts", "The run"
Column = str | None


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Tools")(credit)


def _column(option: str, text: str, usual: str) -> typer.models.OptionInfo:
    info: typer.models.OptionInfo = typer.Option(
        option, metavar="COLUMN", help=text, show_default=usual, rich_help_panel=_INPUT
    )
    return info


def credit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL or Parquet file.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="Model that writes the rollouts: a folder, or hf://org/name@revision."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write. A second run with the same settings goes on in it."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print counts and cost, write nothing, and stop.")] = False,
    question: Annotated[Column, _column("--question", "The problem.", "question, problem, prompt, ...")] = None,
    gold: Annotated[
        Column, _column("--gold", "The gold answer, or a gold solution.", "gold, ..., answer, solution")
    ] = None,
    response: Annotated[
        Column, _column("--response", "A response, or a list of them.", "response, completion, output, ...")
    ] = None,
    steps: Annotated[
        Column, _column("--steps", "A list of steps that make up one response, instead of --response.", "not used")
    ] = None,
    join: Annotated[
        str,
        typer.Option(
            "--join", metavar="TEXT", help=r"Text between two given steps; \n is a newline.", rich_help_panel=_INPUT
        ),
    ] = r"\n",
    problem_id: Annotated[
        Column, _column("--id", "The problem's id.", "rows with the same question and gold answer are one problem")
    ] = None,
    labels: Annotated[
        Column,
        _column("--labels", "The first wrong step, from 0; -1 for none. Needs --steps. Compares pits with it.", "none"),
    ] = None,
    answer_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="How responses state their answer: auto, hash or boxed.",
            rich_help_panel=_INPUT,
        ),
    ] = "auto",
    own: Annotated[
        bool,
        typer.Option(
            "--own",
            rich_help_panel=_INPUT,
            help="The responses are this model's own samples, with this prompt and temperature: all of them "
            "are evidence.",
        ),
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="gsm8k-base, gsm8k-chat, math-chat, ...; it also sets --stop.", rich_help_panel=_PROMPT
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            metavar="STYLE",
            help="plain or chat.",
            show_default="chat where the model has a chat template",
            rich_help_panel=_PROMPT,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help=r"Text with {question} in it; \n is a newline.",
            show_default=r"{question}\n for plain, {question} for chat",
            rich_help_panel=_PROMPT,
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="System turn, for chat.", rich_help_panel=_PROMPT)
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Text that ends a rollout. May be repeated.", rich_help_panel=_PROMPT),
    ] = None,
    estimator: Annotated[
        str,
        typer.Option(metavar="NAME", help="adaptive, sequential, bisection or full-scan.", rich_help_panel=_CREDIT),
    ] = "adaptive",
    rollouts: Annotated[
        int,
        typer.Option(
            min=1, help="Rollouts per prefix: exactly for full-scan, at most for the others.", rich_help_panel=_CREDIT
        ),
    ] = 8,
    best_of: Annotated[int, typer.Option(min=1, help="K of the best-of-K prover.", rich_help_panel=_CREDIT)] = 5,
    target_error: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=0.999,
            rich_help_panel=_CREDIT,
            help="For adaptive: search until the pit is another step with at most this probability.",
        ),
    ] = 0.2,
    budget: Annotated[
        int | None, typer.Option(min=1, help="For adaptive: rollouts per response, at most.", rich_help_panel=_CREDIT)
    ] = None,
    budget_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=_CREDIT,
            help="For adaptive: generated tokens per response; no rollout begins after these.",
        ),
    ] = None,
    max_steps: Annotated[
        int, typer.Option(min=1, help="Most steps of a response; not for --steps.", rich_help_panel=_CREDIT)
    ] = 20,
    step_rule: Annotated[
        str, typer.Option(metavar="RULE", help="lines or sentences.", rich_help_panel=_CREDIT)
    ] = "lines",
    negatives_per_problem: Annotated[
        int, typer.Option(min=1, help="Wrong responses credited per problem, at most.", rich_help_panel=_CREDIT)
    ] = 8,
    max_negatives: Annotated[
        int | None, typer.Option(min=1, help="Wrong responses credited in all, at most.", rich_help_panel=_CREDIT)
    ] = None,
    positives_per_problem: Annotated[
        int,
        typer.Option(
            min=0, rich_help_panel=_CREDIT, help="Right responses credited per problem, at most, each by a full scan."
        ),
    ] = 0,
    pairs_per_problem: Annotated[
        int, typer.Option(min=1, help="Preference pairs per problem, at most.", rich_help_panel=_CREDIT)
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the rollouts.", rich_help_panel=_CREDIT)] = 0,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="transformers or vllm.", rich_help_panel=_SAMPLING)
    ] = "transformers",
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.", rich_help_panel=_SAMPLING)] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Nucleus.", rich_help_panel=_SAMPLING)] = 1.0,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Token limit of a response with its rollout.", rich_help_panel=_SAMPLING)
    ] = 512,
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="float32 or bfloat16.", rich_help_panel=_SAMPLING)
    ] = "float32",
    vllm_args: Annotated[
        list[str] | None,
        typer.Option(
            "--vllm-arg",
            metavar="NAME=VALUE",
            help="Argument of vLLM's engine. May be repeated.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs for vllm.", rich_help_panel=_SAMPLING)] = 0,
    batch_rows: Annotated[int, typer.Option(min=1, help="Rollouts decoded at once.", rich_help_panel=_SAMPLING)] = 256,
    threads: Annotated[
        int, typer.Option(min=1, help="Processor threads, and processes that compare answers.", rich_help_panel=_RUN)
    ] = 1,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Do part I of N; the parts share the folder.", rich_help_panel=_RUN)
    ] = "1/1",
    block: Annotated[
        int, typer.Option(min=1, help="Problems in a block. A killed run loses at most one.", rich_help_panel=_RUN)
    ] = 32,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Also write responses and pairs as JSON lines.", rich_help_panel=_RUN)
    ] = False,
) -> None:
    """Find the step at which each wrong response of a file went wrong, by rollouts of a model.

    The file may hold responses of any writer. Each is judged first: wrong ones are credited, correct ones are evidence.
    The folder gets steps, pits and values of all responses, preference pairs, rows for TRL, and summary.json.

    [dim]misstep credit answers.jsonl --model models/my-model --dry-run[/dim]

    [dim]misstep credit answers.jsonl --model hf://Qwen/Qwen2.5-Math-1.5B --preset math-base --out credited[/dim]

    [dim]misstep credit bench.jsonl --model DIR --question problem --gold answer --steps steps --labels label --out
    credited[/dim]
    """
    from misstep.cli.credit_progress import Progress
    from misstep.errors import BadInput
    from misstep.plan.extras import VLLM, need
    from misstep.plan.frozen import Resources
    from misstep.plan.params import CreditParams, DecodingParams

    need("misstep credit", VLLM if engine == "vllm" and not dry_run else "credit")
    from misstep.standalone.columns import Columns
    from misstep.standalone.run import credit_file, parse_shard
    from misstep.standalone.run import dry_run as show_cost
    from misstep.standalone.settings import Settings

    for option, given, known in (
        ("--format", answer_format, ("auto", "hash", "boxed")),
        ("--estimator", estimator, ("adaptive", "sequential", "bisection", "full-scan")),
        ("--step-rule", step_rule, ("lines", "sentences")),
        ("--engine", engine, ("transformers", "vllm")),
        ("--dtype", dtype, ("float32", "bfloat16")),
    ):
        if given not in known:
            raise BadInput(option, given, f"Write one of {', '.join(known)}.")
    if out is None and not dry_run:
        raise BadInput("--out", "not given", "Name the folder to write, or use --dry-run.")
    prompt, stops = _prompt(preset, style, template, system)
    decoding = DecodingParams(
        engine=engine,  # type: ignore[arg-type]
        engine_args=tuple(sorted(_pair(text) for text in vllm_args or ())),
        dtype=dtype,  # type: ignore[arg-type]
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        stop=stops if stop is None else tuple(_unescaped(text) for text in stop),
    )
    settings = Settings(
        file=file,
        model=model,
        columns=Columns(question, gold, response, steps, problem_id, labels),
        prompt=prompt,
        credit=CreditParams(
            estimator=estimator,  # type: ignore[arg-type]
            rollouts=rollouts,
            target_error=target_error,
            budget=budget,
            budget_tokens=budget_tokens,
            best_of=best_of,
            negatives_per_problem=negatives_per_problem,
            max_negatives=max_negatives,
            positives_per_problem=positives_per_problem,
            max_steps=max_steps,
            step_rule=step_rule,  # type: ignore[arg-type]
            answer_format=answer_format,  # type: ignore[arg-type]
            timeout_seconds=2.0,
            decoding=decoding,
            seed=seed,
        ),
        join=_unescaped(join),
        own=own,
        block=block,
        pairs_per_problem=pairs_per_problem,
        resources=Resources(cpus=threads, batch_rows=batch_rows, gpus=gpus),
    )
    progress = Progress()
    if dry_run or out is None:
        show_cost(settings, progress.say, progress.update)
        return
    summary = credit_file(settings, out, parse_shard(shard), jsonl, progress.say, progress.update)
    if summary is not None:
        progress.result(summary, out)


def _prompt(
    preset: str | None, style: str | None, template: str | None, system: str | None
) -> tuple[PromptParams | None, tuple[str, ...]]:
    """Return the prompt that options ask for, None for the usual one of the model; and its stop strings."""
    from misstep.errors import BadInput
    from misstep.plan.params import PromptParams
    from misstep.plan.presets import PRESETS

    if style is not None and style not in ("plain", "chat"):
        raise BadInput("--style", style, "Write plain or chat.")
    if preset is not None and preset not in PRESETS:
        raise BadInput("--preset", preset, f"Write one of {', '.join(PRESETS)}.")
    if preset is None and style is None and template is None and system is None:
        return None, ()
    if preset is None and style is None:
        option = "--template" if template is not None else "--system"
        raise BadInput(option, template or system, "Say with --style whether the prompt is plain or chat.")
    start = PRESETS[preset].prompt if preset else PromptParams(style="plain", template="{question}\n")
    changed: dict[str, object] = {} if style is None else {"style": style}
    if template is not None:
        changed["template"] = _unescaped(template)
    elif style == "chat" and preset is None:
        changed["template"] = "{question}"
    if system is not None:
        changed["system"] = _unescaped(system)
    return start.model_copy(update=changed), PRESETS[preset].stop if preset else ()


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _pair(text: str) -> tuple[str, str]:
    from misstep.errors import BadInput

    name, found, value = text.partition("=")
    if not name or not found:
        raise BadInput("--vllm-arg", text, "Write NAME=VALUE, for example max_model_len=4096.")
    return name, value
