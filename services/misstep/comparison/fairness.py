"""What must be the same for figures of two Experiments to be compared, and what a difference means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from misstep.comparison.compared import Compared, Difference
from misstep.comparison.settings import VERIFIER
from misstep.evaluation import wording as w


@dataclass(frozen=True)
class Rule:
    """Settings that should be the same."""

    what: str
    paths: tuple[str, ...]
    """Beginnings of paths."""
    means: str
    """What may not be concluded if they differ."""


RULES = (
    Rule(
        "the test problems",
        ("spec.problems.test", "spec.evaluation.limit"),
        "accuracies and worth are of different problems, so they cannot be compared",
    ),
    Rule(
        "the verification",
        ("spec.verification", VERIFIER),
        "the same answer may be right in one and wrong in another",
    ),
    Rule("the prompt", ("spec.policy.prompt",), "a difference may come from how the model is asked"),
    Rule(
        "how test answers are sampled",
        (
            "spec.evaluation.samples",
            "spec.evaluation.temperature",
            "spec.evaluation.topP",
            "spec.sampling.maxNewTokens",
            "spec.sampling.stop",
            "spec.sampling.engine",
            "spec.sampling.vllmArgs",
            "spec.sampling.dtype",
        ),
        "a difference may come from how answers are drawn",
    ),
    Rule("the base model", ("spec.policy.model",), "a difference may come from the model, and not from the method"),
    Rule(
        "the training problems",
        ("spec.problems.train", "spec.problems.holdOut", "spec.problems.overlapNgram", "spec.teacher"),
        "the same number of problems does not mean the same problems",
    ),
    Rule(
        "the training of SFT",
        ("spec.training.sft",),
        "worth is read off another curve in each: compare accuracies before factors",
    ),
    Rule("the seeds", ("spec.seeds",), "part of a difference is the luck of other problems, samples and trainings"),
)


def warnings(compared: Sequence[Compared], different: Sequence[Difference]) -> list[str]:
    """Return a sentence for each reason why these Experiments are not compared fairly."""
    found = []
    for rule in RULES:
        paths = dict.fromkeys(d.path for d in different if any(_below(d.path, begins) for begins in rule.paths))
        if paths:
            found.append(f"Not the same: {rule.what} ({w.listed(list(paths))}). So {rule.means}.")
    found += _by_results(compared, found)
    unknown = [one.name for one in compared if one.settings is None]
    if unknown:
        found.append(
            f"The settings of {w.listed(unknown)} are not known: only results.json was given, or stages that it came "
            "from are gone from its store. Only the prompt, the seeds and the number of test problems were checked."
        )
    sizes = {one.sft_sizes for one in compared}
    if len(sizes) > 1:
        found.append(
            "Plain fine-tuning was run at other sizes in each: factors are read off other points, and “more than” "
            "means another bound."
        )
    return found


def _below(path: str, begins: str) -> bool:
    return path == begins or path.startswith(f"{begins}.")


def _by_results(compared: Sequence[Compared], said: Sequence[str]) -> list[str]:
    """Check by the results alone what settings did not show."""
    found = []
    counts = [one.results.test_problems for one in compared]
    if len(set(counts)) > 1 and not any(RULES[0].what in text for text in said):
        of = w.listed([f"{count:,}" for count in counts])
        found.append(f"Not the same: {RULES[0].what} ({of} of them). So {RULES[0].means}.")
    if all(one.settings is not None for one in compared):
        return found
    prompts = {one.results.prompt.sha256 for one in compared if one.results.prompt is not None}
    if len(prompts) > 1:
        found.append(f"Not the same: {RULES[2].what}. So {RULES[2].means}.")
    if len({one.results.seeds for one in compared}) > 1:
        found.append(f"Not the same: the seeds. So {RULES[-1].means}.")
    return found
