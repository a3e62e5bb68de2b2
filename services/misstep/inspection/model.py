"""Check one model folder completely, and report the model's facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput
from misstep.inspection.report import ModelReport, TextReport
from misstep.inspection.text import check_probe, check_survival, survival

if TYPE_CHECKING:
    from misstep.credit.steps import StepRule
    from misstep.generation.prompts import PromptBuilder
    from misstep.plan.params import PromptParams

QUESTION = "Ann has 2 apples and buys 3 more. How many apples does she have?"
SOLUTION = "Ann has 2 apples.\nShe buys 3 more, so she has 2 + 3 = <<2+3=5>>5 apples.\n#### 5"
POLICY = "spec.policy.model"


@dataclass(frozen=True)
class Steps:
    """How a response is split into steps (``credit.steps.StepCutter``)."""

    rule: StepRule = "lines"
    most: int = 16
    stop: tuple[str, ...] = ()


def inspect_model(
    folder: Path,
    prompt: PromptParams | None,
    problems: Sequence[tuple[str, str]] = (),
    model_field: str = POLICY,
    steps: Steps | None = None,
    shown_as: str | None = None,
    *,
    guess_prompt: bool = False,
) -> ModelReport:
    """Check a model before training or sampling: files, weights, tokenizer, prompt, and what training will write.

    It takes seconds for a model of any size, since no weights are read.

    Args:
        folder: the model's folder.
        prompt: the policy's prompt; None for a teacher.
        problems: (question, solution) pairs whose text must survive the tokenizer.
        model_field: the Experiment's field that names the model.
        steps: how credit splits responses; only shown on the page.
        shown_as: the folder's name in the report, if it is a copy.
        guess_prompt: if ``prompt`` is None, use the usual prompt of such a model.

    Raises:
        BadInput: names the first error, with the fix, at ``model_field`` or ``spec.policy.prompt``.
    """
    try:
        report = _inspect(folder, prompt, problems, model_field, steps or Steps(), guess_prompt)
    except BadInput as error:
        if error.field.startswith("spec."):
            raise
        raise BadInput(model_field, error.value, error.fix) from error
    return report if shown_as is None else replace(report, folder=shown_as)


def _inspect(
    folder: Path,
    prompt: PromptParams | None,
    problems: Sequence[tuple[str, str]],
    model_field: str,
    steps: Steps,
    guess_prompt: bool,
) -> ModelReport:
    from misstep.generation.chat import ChatTemplate
    from misstep.generation.ends import end_ids
    from misstep.generation.loading import check_end_token, load_config, load_generation_config
    from misstep.generation.prompts import PromptBuilder, check_taught_end, usual_prompt
    from misstep.generation.tokenizers import read_tokenizer
    from misstep.inspection.weights import check_weights
    from misstep.inspection.writing import rehearse_writing
    from misstep.models.folder import check_folder

    check_folder(folder, model_field)
    load_config(folder)  # a tokenizer's class reads it too, and would get the blame for its errors
    reading = read_tokenizer(folder)
    tokenizer = reading.tokenizer
    check_end_token(tokenizer)
    unusual = list(reading.notes)
    closed = check_probe(tokenizer, model_field)
    unusual += [closed] if closed else []
    ends = end_ids(tokenizer, load_generation_config(folder))
    text, counts = None, {}
    builder = None
    if prompt is None and guess_prompt:
        prompt = usual_prompt(tokenizer)
    if prompt is None:
        if not tokenizer.chat_template:
            fix = "A teacher follows instructions: use a model made for chat."
            raise BadInput(model_field, f"its tokenizer has no chat template ({folder})", fix)
        ChatTemplate(tokenizer, field=model_field).text([{"role": "user", "content": QUESTION}], answer_follows=True)
    if prompt is not None:
        builder = PromptBuilder(tokenizer, prompt, ends)
        check_taught_end(builder, ends)
        if builder.prompt_block:
            unusual.append(
                f"the chat template writes {builder.prompt_block!r} before an answer: it is part of the prompt, in "
                "training and in sampling"
            )
        if problems:
            questions, solutions = survival(builder, problems)
            check_survival(questions, solutions, model_field)
            counts = {
                name: {"checked": found.checked, "lost": found.lost, "examples": found.examples}
                for name, found in (("questions", questions), ("solutions", solutions))
            }
    weights = check_weights(folder, model_field)
    _check_ids(tokenizer, ends, weights.embeddings, model_field)
    if builder is not None:
        _check_prompt(builder, problems[:1] if closed else [(QUESTION, SOLUTION)], weights.embeddings, model_field)
    if len(tokenizer) > weights.embeddings:
        unusual.append(
            f"the tokenizer has {len(tokenizer):,} tokens, and the model {weights.embeddings:,} embeddings: a text "
            "with one of the others is refused"
        )
    unusual += weights.unusual
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        unusual.append("the padding token is the end token: padding is masked in training, and the end is trained")
    unusual += rehearse_writing(folder, model_field, tokenizer).unusual
    if builder is not None:
        text = _text_report(builder, steps, reading.by, ends, problems if closed else ())
    return ModelReport(
        folder=str(folder),
        architecture=weights.architecture,
        model_type=weights.model_type,
        parameters=weights.parameters,
        trained=weights.trained,
        tied=len(weights.tied),
        dtypes=dict(weights.dtypes),
        bytes=weights.bytes,
        files=len(weights.files),
        context=weights.context,
        embeddings=weights.embeddings,
        text=text,
        unusual=tuple(unusual),
        survival=counts,
    )


def _check_ids(tokenizer: Any, ends: frozenset[int], embeddings: int, model_field: str) -> None:
    """Refuse a model that has no embedding for, or cannot sample, the token that ends a response."""
    end = int(tokenizer.eos_token_id)
    if end >= embeddings:
        raise BadInput(
            model_field,
            f"the end token {tokenizer.eos_token!r} has id {end}, and the model {embeddings} embeddings",
            "The tokenizer is not the one that the model was made with: give the model's own.",
        )
    if not any(number < embeddings for number in ends):
        raise BadInput(model_field, f"end ids {sorted(ends)}", f"None is among the model's {embeddings} embeddings.")


def _check_prompt(builder: PromptBuilder, pairs: Iterable[tuple[str, str]], embeddings: int, model_field: str) -> None:
    """Refuse a model that has no embedding for a token of an ordinary prompt or response. Raises BadInput."""
    for question, solution in pairs:
        for number in (*builder.prompt_ids(question), *builder.response_ids(solution)):
            if number >= embeddings:
                raise BadInput(
                    model_field,
                    f"its tokenizer writes {_token(builder.tokenizer, number)!r} with id {number}, and the model has "
                    f"{embeddings} embeddings",
                    "The tokenizer is not the one that the model was made with: give the model's own.",
                )


def _text_report(
    builder: PromptBuilder,
    steps: Steps,
    read_by: str,
    ends: frozenset[int],
    own: Sequence[tuple[str, str]],
) -> TextReport:
    from misstep.credit.pieces import TokenPieces
    from misstep.credit.steps import StepCutter
    from misstep.generation.text import decode_continuation

    tokenizer = builder.tokenizer
    question, solution = own[0] if own else (QUESTION, SOLUTION)
    prompt, response = builder.prompt_ids(question), builder.response_ids(solution)
    cutter = StepCutter(TokenPieces(tokenizer, ends), steps.rule, steps.most, steps.stop)
    return TextReport(
        tokenizer=type(tokenizer).__name__,
        read_by=read_by,
        vocabulary=len(tokenizer),
        style=builder.params.style,
        prompt=tokenizer.decode(prompt, clean_up_tokenization_spaces=False),
        prompt_tokens=len(prompt),
        response=decode_continuation(tokenizer, response[:-1]),
        response_tokens=len(response),
        end=_token(tokenizer, builder.end_id),
        ends=tuple((number, _token(tokenizer, number)) for number in sorted(ends)),
        steps=cutter.cut(response).texts,
    )


def _token(tokenizer: Any, number: int) -> str:
    return str(tokenizer.convert_ids_to_tokens(number)) if number < len(tokenizer) else f"id {number}"
