"""What cards of models and of data have in common: front matter, settings, data, how to make it again, citation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from misstep.plan.frozen import FrozenStage
from misstep.publishing.facts import Facts, settings_of
from misstep.publishing.markdown import fenced, plain, table

EXPERIMENT_FILE = "misstep/experiment.yaml"
PAPER = "2406.14532"
_NO_LICENCE = (
    "# TODO: choose a licence, and write it here as `license: ID` (https://huggingface.co/docs/hub/repositories-licenses).\n"
    "# Misstep does not know under which terms the base model and the data may be passed on.\n"
)
CITATION = f"""@article{{setlur2024rl,
  title={{RL on Incorrect Synthetic Data Scales the Efficiency of LLM Math Reasoning by Eight-Fold}},
  author={{Setlur, Amrith and Garg, Saurabh and Geng, Xinyang and Garg, Naman and Smith, Virginia and Kumar, Aviral}},
  journal={{arXiv preprint arXiv:{PAPER}}},
  year={{2024}}
}}"""


def front_matter(data: Mapping[str, Any], licence: str | None) -> str:
    """Return the YAML at the top of a card. Without a licence a comment says that it is left to the user."""
    given = {name: value for name, value in data.items() if value is not None}
    if licence is not None:
        given = {"license": licence, **given}
    text = yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{_NO_LICENCE if licence is None else ''}{text}---\n"


def sections(*titled: tuple[str, str]) -> str:
    """Join sections, without the empty ones."""
    return "".join(f"\n## {title}\n\n{text.strip()}\n" for title, text in titled if text.strip())


def data_text(facts: Facts) -> str:
    """Say which problems were used, and who wrote their solutions."""
    rows = [(problems.split, problems.text()) for problems in facts.problems]
    teacher = ""
    if facts.teacher is not None:
        teacher = f"\n\nA language model wrote the solutions to imitate: {plain(facts.teacher)}."
    return table(("problems", "from"), rows) + teacher


def settings_text(facts: Facts) -> str:
    """Return all settings of the stages that it was made by."""
    intro = (
        "The stages that it was made by, in their order, with every setting that decided the result. A key is a hash "
        "of all of them and of the inputs."
    )
    return "\n\n".join([intro, *(_stage(stage) for stage in facts.made_by)])


def _stage(stage: FrozenStage) -> str:
    rows = [(name, _value(value)) for name, value in settings_of(stage.params)]
    digests = [(f"{role} (digest)", external.digest) for role, external in sorted(stage.externals.items())]
    head = f"**{plain(stage.name)}** ({stage.kind.value}, key {plain(stage.key)})"
    return f"{head}\n\n{table(('setting', 'value'), [*rows, *digests])}" if rows or digests else head


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def prompt_text(facts: Facts) -> str:
    """Show how the policy is asked."""
    prompt = facts.prompt
    lines = []
    if prompt["style"] == "chat":
        lines.append("The question is the user's turn of the tokenizer's chat template, in this text:")
    else:
        lines.append("The prompt is plain text, without a chat template:")
    lines.append(fenced(prompt["template"], "text"))
    if prompt.get("system"):
        lines += ["The system turn is:", fenced(prompt["system"], "text")]
    if prompt.get("examples"):
        count = len(prompt["examples"])
        lines.append(f"{count} worked examples come before it; they are in `{EXPERIMENT_FILE}`.")
    return "\n\n".join(lines)


def reproduce_text(facts: Facts) -> str:
    """Say how to make it again."""
    name = facts.choice.stage.name
    command = f"misstep run {EXPERIMENT_FILE} --only {name}"
    options = list(dict.fromkeys(_options(facts)))
    lines = [
        f"Made by Misstep {plain(facts.version)}. "
        f"The whole experiment is in `{EXPERIMENT_FILE}`, without the places where it ran:",
        fenced(" ".join([command, *options]), "sh"),
    ]
    if options:
        lines.append("DIR is a folder with that model or data. Its digest must be the one above.")
    tools = ", ".join(f"{tool} {version}" for tool, version in sorted(facts.manifest.tools.items()))
    lines.append(f"The stage has the key {plain(facts.choice.stage.key)} where all inputs are the same.")
    lines.append(f"Versions that it ran with: {plain(tools)}.")
    return "\n\n".join(lines)


def _options(facts: Facts) -> Iterator[str]:
    if facts.base.hub is None:
        yield f"--model {facts.names['model']}=DIR"
    for problems in facts.problems:
        if problems.origin is not None and problems.origin.hub is None:
            yield f"--data {facts.names[f'source_{problems.split}']}=DIR"


def citation_text() -> str:
    """Return the method's paper as BibTeX."""
    return f"The method is that of [arXiv {PAPER}](https://arxiv.org/abs/{PAPER}):\n\n{fenced(CITATION, 'bibtex')}"


def licence_text(facts: Facts, licence: str | None) -> str:
    """Say whose terms apply."""
    sources = [facts.base.hub or "the base model", *(facts.hub_datasets() or ["the problems"])]
    also = " and ".join(sources)
    said = "No licence was given yet." if licence is None else f"Licence: {plain(licence)}, as the publisher says."
    return f"{said} The terms of {plain(also)} apply too."
