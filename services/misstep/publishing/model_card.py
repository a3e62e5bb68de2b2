"""The card of a model: what it is, what was measured of it, and what that does not show. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from misstep.evaluation import wording
from misstep.evaluation.estimates import Estimate
from misstep.evaluation.results import Results
from misstep.evaluation.results_table import summary_rows
from misstep.publishing import parts
from misstep.publishing.facts import Facts, Problems
from misstep.publishing.markdown import fenced, plain, table

_LIMITS = (
    "Only accuracy on these problems was measured: nothing about other tasks, other languages, or harmful output.",
)


def model_card(facts: Facts, repository: str, licence: str | None, base_model: str | None) -> str:
    """Return the README of a model's repository.

    Args:
        repository: ``ORG/NAME``.
        licence: the Hub's identifier of a licence; None leaves it to the user.
        base_model: the base model on the Hub, where the experiment names a local folder.
    """
    point = facts.choice.point
    learned = wording.learns_from(point.method, point.layout, point.from_arm)
    start = (
        f"This is the arm {plain(point.arm)} of the experiment {plain(facts.experiment)}, trained with {point.size:,} "
        f"problems and seed {point.seed}. Its method: {plain(learned)}."
    )
    name = repository.rpartition("/")[2]
    return (
        parts.front_matter(_metadata(facts, name, base_model), licence)
        + f"\n# {plain(name)}\n\n{start}\n"
        + parts.sections(
            ("Model", _model(facts, base_model)),
            ("Use", _use(facts, repository)),
            ("Results", _results(facts)),
            ("What cannot be said", _limits(facts)),
            ("Data", parts.data_text(facts)),
            ("How it was made", parts.settings_text(facts)),
            ("Make it again", parts.reproduce_text(facts)),
            ("Licence", parts.licence_text(facts, licence)),
            ("Citation", parts.citation_text()),
        )
    )


def _metadata(facts: Facts, name: str, base_model: str | None) -> dict[str, Any]:
    base = facts.base.hub or base_model
    return {
        "base_model": base,
        # Adapters are merged before a model is written, so that it is a whole model.
        "base_model_relation": "finetune" if base else None,
        "datasets": facts.hub_datasets() or None,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["misstep", facts.choice.point.method, f"arxiv:{parts.PAPER}"],
        "model-index": [{"name": name, "results": [_index(facts)]}] if facts.point else None,
    }


def _index(facts: Facts) -> dict[str, Any]:
    assert facts.point is not None
    test = _test(facts)
    origin = test.origin if test else None
    dataset = {
        "type": origin.hub if origin and origin.hub else (test.format if test else "local"),
        "name": f"{test.format if test else 'local'}, {facts.point.problems:,} test problems",
        "config": origin.config if origin else None,
        "split": (origin.split if origin else None) or "test",
        "revision": origin.revision if origin else None,
    }
    measured = [("pass", facts.point.pass_at), ("maj", facts.point.maj_at)]
    metrics = [
        {"type": "accuracy", "name": f"{kind}@{k}", "value": round(estimate.value, 6)}
        for kind, estimates in measured
        for k, estimate in sorted(estimates.items())
    ]
    return {
        "task": {"type": "text-generation", "name": "problems with checked final answers"},
        "dataset": {name: value for name, value in dataset.items() if value is not None},
        "metrics": metrics,
    }


def _test(facts: Facts) -> Problems | None:
    return next((problems for problems in facts.problems if problems.split == "test"), None)


def _model(facts: Facts, base_model: str | None) -> str:
    optimiser = facts.stage_params.get("optimiser", {})
    rows: list[tuple[str, object]] = [("base model", facts.base.text())]
    if facts.base.hub is None and base_model is not None:
        rows.append(("base model on the Hub", f"{base_model}, as the publisher says; it was not checked"))
    rows.append(("method", facts.choice.stage.kind.value.upper()))
    if facts.choice.point.layout:
        rows.append(("pairs", facts.choice.point.layout))
    rows += _credit(facts)
    if optimiser.get("lora_rank"):
        rows.append(
            ("adapters", f"LoRA of rank {optimiser['lora_rank']}, merged into the weights: this is a whole model")
        )
    rows.append(("weights", str(optimiser.get("dtype", ""))))
    training = facts.point.training if facts.point else None
    if training is not None and training.trained:
        rows.append(
            ("trained on", f"{training.rows or 0:,} {'pairs' if facts.choice.point.method == 'dpo' else 'solutions'}")
        )
        rows.append(("optimiser steps", f"{training.kept_steps:,} of {training.steps:,}"))
        if training.best_epoch is not None:
            rows.append(("checkpoint", f"epoch {training.best_epoch}, the best on validation problems"))
    elif training is not None:
        rows.append(("trained", f"no: {training.reason or 'there was nothing to train on'}"))
    return table(("", ""), rows)


def _credit(facts: Facts) -> Iterator[tuple[str, object]]:
    for stage in facts.made_by:
        if stage.kind.value == "credit":
            params = stage.params
            bound = "exactly" if params["estimator"] == "full-scan" else "at most"
            rollouts = f"{bound} {params['rollouts']} rollouts a prefix, best of {params['best_of']}"
            yield "credit of steps", f"{params['estimator']}, {rollouts}"


def _use(facts: Facts, repository: str) -> str:
    prompt = facts.prompt
    decoding = next((s.params["decoding"] for s in reversed(facts.made_by) if s.params.get("decoding")), None)
    decoding = decoding or (facts.stage_params.get("selection") or {}).get("decoding") or {}
    lines = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({repository!r})",
        f"model = AutoModelForCausalLM.from_pretrained({repository!r})",
        'question = "..."',
        f"text = {prompt['template']!r}.replace('{{question}}', question)",
    ]
    if prompt["style"] == "chat":
        turns = [f"{{'role': 'system', 'content': {prompt['system']!r}}}"] if prompt.get("system") else []
        turns.append("{'role': 'user', 'content': text}")
        arguments = "".join(f", {name}={value!r}" for name, value in (prompt.get("template_arguments") or {}).items())
        lines += [
            f"turns = [{', '.join(turns)}]",
            f"text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True{arguments})",
            "inputs = tokenizer(text, return_tensors='pt', add_special_tokens=False)",
        ]
    else:
        lines.append("inputs = tokenizer(text, return_tensors='pt', return_token_type_ids=False)")
    stop = decoding.get("stop") or ()
    stops = f", stop_strings={list(stop)!r}, tokenizer=tokenizer" if stop else ""
    lines += [
        f"out = model.generate(**inputs, max_new_tokens={decoding.get('max_new_tokens', 512)}{stops})",
        "print(tokenizer.decode(out[0, inputs['input_ids'].shape[1]:], skip_special_tokens=True))",
    ]
    return f"{parts.prompt_text(facts)}\n\n{fenced(chr(10).join(lines), 'python')}"


def _results(facts: Facts) -> str:
    results, point, cell = facts.results, facts.point, facts.cell
    if results is None or point is None or cell is None:
        return "Nothing was measured of this model: no test samples were drawn."
    samples = point.answers.samples // max(1, point.problems)
    test = _test(facts)
    about = f"{point.problems:,} test problems" + (f" ({test.text()})" if test else "")
    rows = [*_measured("pass", point.pass_at, cell.pass_at), *_measured("maj", point.maj_at, cell.maj_at)]
    seeds = f"arm, {len(cell.seeds)} seed{'' if len(cell.seeds) == 1 else 's'}"
    lines = [
        f"Accuracy on {plain(about)}, {samples} answer{'' if samples == 1 else 's'} to each. In brackets are 95% "
        "intervals. Those of this model cover the choice of test problems; those of the arm also cover the seeds.",
        table(("", "this model", seeds), rows),
        "All arms of the experiment:",
        _arms(results),
    ]
    if results.yardstick:
        lines.append(
            "Worth is the number of problems that plain fine-tuning needs to reach the same accuracy, divided by the "
            "number that the arm used."
        )
    return "\n\n".join([*lines, *(plain(text) for text in (results.headline, results.conclusion) if text)])


def _measured(name: str, model: dict[int, Estimate], arm: dict[int, Estimate]) -> Iterator[tuple[str, str, str]]:
    for k, estimate in sorted(model.items()):
        of_arm = _interval(arm[k]) if k in arm else wording.NONE
        yield f"{name}@{k}", _interval(estimate), of_arm


def _interval(estimate: Estimate) -> str:
    return f"{wording.percent(estimate.value)} ({wording.percent_range(estimate)})"


def _arms(results: Results) -> str:
    rows = []
    for row, cell in zip(summary_rows(results), results.cells, strict=True):
        worth = cell.worth.interpolated
        span = wording.factor_range(worth)
        factor = f"{wording.factor(worth)} ({span})" if span else wording.factor(worth)
        rows.append((row.arm, row.size, len(cell.seeds), _interval(cell.accuracy), factor))
    return table(("arm", "problems", "seeds", "pass@1", "worth"), rows)


def _limits(facts: Facts) -> str:
    notes = [*(facts.results.notes if facts.results else ()), *_LIMITS]
    return "\n".join(f"- {plain(note)}" for note in notes)
