"""A model's report as a plain text page."""

from __future__ import annotations

from misstep.inspection.report import ModelReport, TextReport
from misstep.text import size_text


def page(report: ModelReport) -> str:
    """Return the page for a researcher to read before a run."""
    parts = [_model(report)]
    if report.text is not None:
        parts += _text(report.text)
    if report.survival:
        parts.append(_section("Problems", [f"{name}: {said}" for name, said in _survival(report)]))
    parts.append(_section("Unusual", [f"- {sentence}" for sentence in report.unusual] or ["nothing"]))
    return "\n\n".join(parts) + "\n"


def _model(report: ModelReport) -> str:
    types = ", ".join(report.dtypes) or "none"
    context = "not said by config.json" if report.context is None else f"{report.context:,} tokens"
    size = size_text(report.bytes, decimal=True)
    tied = f", {report.tied} of the weights shared" if report.tied else ""
    rows = {
        "model": report.folder,
        "architecture": f"{report.architecture} ({report.model_type})",
        "parameters": f"{report.parameters:,}{tied}",
        "weights": f"{types}, {size} in {report.files} file{'s' if report.files != 1 else ''}",
        "context": context,
        "embeddings": f"{report.embeddings:,}",
    }
    text = report.text
    if text is not None:
        if report.embeddings > text.vocabulary:
            rows["embeddings"] += f", {report.embeddings - text.vocabulary:,} of them without a token"
        how = "directly from tokenizer.json" if text.read_by == "file" else "by its own class"
        rows |= {
            "tokenizer": f"{text.tokenizer}, {text.vocabulary:,} tokens, read {how}",
            "prompt style": text.style,
            "sampling stops at": ", ".join(f"{token} ({number})" for number, token in text.ends),
            "training ends with": text.end,
        }
    width = max(map(len, rows))
    return _section("Model", [f"{name:<{width}}  {value}" for name, value in rows.items()])


def _text(text: TextReport) -> list[str]:
    response = f"{text.response}⟦{text.end}⟧"
    return [
        _section(f"A prompt, {text.prompt_tokens} tokens", _quoted(text.prompt)),
        _section(f"A response, {text.response_tokens} tokens with the end token ⟦ ⟧", _quoted(response)),
        _section(f"Steps: {len(text.steps)}", [f"{i}  {step!r}" for i, step in enumerate(text.steps, 1)]),
    ]


def _survival(report: ModelReport) -> list[tuple[str, str]]:
    return [
        (
            name,
            f"{found['checked'] - found['lost']:,} of {found['checked']:,} come back from the tokenizer unchanged",
        )
        for name, found in report.survival.items()
    ]


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _quoted(text: str) -> list[str]:
    """Show each line between bars, so that spaces at its ends are visible."""
    return [f"|{line}|" for line in text.split("\n")]
