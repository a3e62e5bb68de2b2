"""The card of a data set: what its rows are, how they were made, and what they are not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from misstep.publishing import parts
from misstep.publishing.choose import What
from misstep.publishing.facts import Facts
from misstep.publishing.markdown import fenced, plain, table

COLUMNS: dict[What, tuple[tuple[str, str], ...]] = {
    What.PAIRS: (
        ("prompt", "the prompt as the policy read it; for layouts that share a prefix also the steps before the pit"),
        ("chosen", "what follows, and reaches the right answer"),
        ("rejected", "what follows, and is wrong"),
        ("problem_id", "the problem"),
        ("layout", "what the two sides are"),
        ("pit", "the blamed step of the wrong solution, from 1; null where the layout uses none"),
        ("chosen_source", "rollout, sample or teacher"),
        ("rejected_complete", "false: the rejected side is cut off behind the blamed step"),
        ("weight", "how much the pair counted in the loss"),
    ),
    What.CREDIT: (
        ("prompt", "the prompt as the policy read it"),
        ("completions", "the steps of the response that have a label"),
        (
            "labels",
            "true: rollouts from there still reach the right answer; false: the first step after which they do not",
        ),
        ("problem_id", "the problem"),
        ("correct", "whether the response as a whole is right"),
        ("pit", "the step with the label false, from 1; null where there is none"),
        ("values", "the estimated chance of success after each step; null where it was not estimated"),
    ),
    What.SAMPLES: (
        ("prompt", "the prompt as the policy read it"),
        ("completion", "the policy's response"),
        ("label", "whether its final answer is right"),
        ("problem_id", "the problem"),
        ("sample", "number of the response among those to the same problem"),
        ("verdict", "correct or wrong"),
        ("extracted", "the final answer that was read in it"),
    ),
}
"""What the columns mean, in their order."""
_TITLES = {
    What.PAIRS: "Preference pairs",
    What.CREDIT: "Solutions with credited steps",
    What.SAMPLES: "Judged solutions",
}
_FORMATS = {
    What.PAIRS: "a preference data set of TRL (for DPO)",
    What.CREDIT: "stepwise supervision of TRL (for process reward models)",
    What.SAMPLES: "an unpaired preference data set of TRL (for KTO)",
}


@dataclass(frozen=True)
class Written:
    """What was written of a data set."""

    rows: int
    otherwise: int
    """Rows whose text TRL turns into other tokens than were sampled."""
    left_out: Mapping[str, int]
    """Why samples became no row -> samples."""


def data_card(facts: Facts, repository: str, licence: str | None, written: Written) -> str:
    """Return the README of a data set's repository.

    Args:
        repository: ``ORG/NAME``.
        licence: the Hub's identifier of a licence; None leaves it to the user.
    """
    what, point = facts.choice.what, facts.choice.point
    name = repository.rpartition("/")[2]
    where = f" (arm {plain(point.arm)}, pairs {plain(point.layout)})" if what is What.PAIRS else ""
    start = (
        f"{_TITLES[what]} of the experiment {plain(facts.experiment)}{where}: {written.rows:,} rows. "
        f"A language model wrote all responses, as a policy that was trained with {point.size:,} problems and seed "
        f"{point.seed}."
    )
    metadata = {
        "pretty_name": " ".join(name.split()),
        "tags": ["misstep", "trl", what.value, f"arxiv:{parts.PAPER}"],
        "task_categories": ["text-generation"],
        "size_categories": [_size(written.rows)],
        "source_datasets": facts.hub_datasets() or None,
        "configs": [{"config_name": what.value, "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    return (
        parts.front_matter(metadata, licence)
        + f"\n# {plain(name)}\n\n{start}\n"
        + parts.sections(
            ("Rows", _rows(facts, repository, written)),
            ("What cannot be said", _limits(facts)),
            ("Data", parts.data_text(facts)),
            ("Policy", table(("", ""), [("base model", facts.base.text())]) + "\n\n" + parts.prompt_text(facts)),
            ("How it was made", parts.settings_text(facts)),
            ("Make it again", parts.reproduce_text(facts)),
            ("Licence", parts.licence_text(facts, licence)),
            ("Citation", parts.citation_text()),
        )
    )


def _rows(facts: Facts, repository: str, written: Written) -> str:
    what = facts.choice.what
    code = f"from datasets import load_dataset\n\nrows = load_dataset({repository!r}, split='train')"
    lines = [
        f"The format is {_FORMATS[what]}, with further columns that its trainers do not read.",
        table(("column", "meaning"), COLUMNS[what]),
        fenced(code, "python"),
        "A prompt is text with the chat template applied, if the policy has one: give it to TRL as it is. A token at "
        "the beginning of text that the tokenizer adds by itself is left out.",
    ]
    if written.otherwise:
        lines.append(
            f"Of {written.otherwise:,} rows, a tokenizer makes other tokens of the text than the policy sampled."
        )
    if written.left_out:
        reasons = [(why, f"{count:,}") for why, count in sorted(written.left_out.items())]
        lines += ["Samples that are neither right nor wrong are left out:", table(("reason", "samples"), reasons)]
    return "\n\n".join(lines)


def _limits(facts: Facts) -> str:
    notes = [
        "All responses come from one policy. Responses of other models go wrong elsewhere.",
        "Whether a response is right was decided by its final answer alone. A wrong step may still lead to it.",
    ]
    if facts.choice.what is not What.SAMPLES:
        notes.append("Credit is estimated from a few rollouts: some steps are blamed wrongly.")
    measured = facts.results.notes if facts.results else ()
    return "\n".join(f"- {plain(note)}" for note in (*notes, *measured))


def _size(rows: int) -> str:
    names = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for most, name in names if rows < most), "1M<n<10M")
