"""The settings that a report's stages had, by the names of the fields in an Experiment. Pure.

They are read from the stages and not from a YAML: a file may have been edited since the run, and a store has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from misstep.plan.kinds import StageKind
from misstep.plan.params import ReportParams
from misstep.text import dotted_values


@dataclass(frozen=True)
class Made:
    """One stage, as its plan or its manifest describes it."""

    key: str
    kind: StageKind
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    externals: Mapping[str, str]
    """role -> digest."""


class Setting(NamedTuple):
    """The name of a setting."""

    path: str
    """Such as ``spec.training.dpo.beta``."""
    arm: str = ""
    """For a setting that each arm may have its own of."""


VERIFIER = "version of the verifier"
"""The one setting that is not a field of the Experiment."""

_PROMPT = {"prompt": "policy.prompt", "prompt.tokenization": None}
_TRAINED = {"optimiser.seed": None, "selection.decoding": None, "selection.seed": None, "selection.answer_format": None}
_SAMPLING = {
    "decoding": "sampling",
    "decoding.engine_args": "sampling.vllmArgs",
    **_PROMPT,
}
_PLACES: dict[StageKind, dict[str, str | None]] = {
    StageKind.PROBLEMS: {
        "": "problems",
        **{f"{split}.generator_seed": f"problems.{split}.seed" for split in ("train", "validation", "test")},
        **{f"{split}.marks": f"problems.{split}.columns" for split in ("train", "validation", "test")},
        **{f"{split}.skip": None for split in ("train", "validation", "test")},
        "held_out": "problems.holdOut",
        "answer_format": "verification.answerFormat",
        "verifier": None,
        "seeds": None,
        "validation_needed": None,
    },
    StageKind.SYNTHESIZE: {
        "": "teacher",
        "endpoint_model": "teacher.endpoint.model",
        "new_per_seed": "teacher.newProblemsPerSeed",
        "decoding.engine": "teacher.model.engine",
        "decoding.dtype": "teacher.model.dtype",
        "decoding.engine_args": "teacher.model.vllmArgs",
        "decoding.temperature": "teacher.temperature",
        "decoding.max_new_tokens": "teacher.maxNewTokens",
        "decoding": None,
        "budget": "teacher.endpoint.budget",
        "budget.price_input": None,
        "budget.price_output": None,
        **dict.fromkeys(("answer_style", "answer_format", "timeout_seconds", "seed", "verifier")),
    },
    StageKind.CURATE: {"near_duplicate_percent": "teacher.nearDuplicatePercent"},
    StageKind.SFT: {
        "optimiser": "training.sft",
        "selection": "training.sft.selection",
        "policy": "training.sft.policy",
        **_TRAINED,
    },
    StageKind.RFT: {
        "optimiser": "training.rft",
        "selection": "training.rft.selection",
        "positives": "training.rft",
        **_TRAINED,
    },
    StageKind.DPO: {
        "optimiser": "training.dpo",
        "selection": "training.dpo.selection",
        "beta": "training.dpo.beta",
        "nll_weight": "training.dpo.nllWeight",
        **_TRAINED,
    },
    StageKind.CREDIT: {
        "": "credit",
        **dict.fromkeys(("oracle", "answer_format", "timeout_seconds", "decoding", "seed")),
    },
    StageKind.PAIRS: {"": "pairs", **dict.fromkeys(("layout", "seed", "oracle", "decoding", "prompt"))},
    StageKind.VERIFY: {"": "verification", "verifier": VERIFIER},
    StageKind.SCORE: {"pass_at": "evaluation.passAt"},
    StageKind.REPORT: {"bootstrap": "evaluation.bootstrap"},
}
"""By kind: the beginning of a parameter's name -> where an Experiment has it, or None if it is no setting. The longest
beginning counts. The rest of a name is written as in YAML: ``learning_rate`` is ``learningRate``."""
_OWN_SAMPLES: dict[str, str | None] = {**_SAMPLING, "samples": "sampling.samples"}
_TEST_SAMPLES: dict[str, str | None] = {
    **_SAMPLING,
    "samples": "evaluation.samples",
    "limit": "evaluation.limit",
    "decoding.temperature": "evaluation.temperature",
    "decoding.top_p": "evaluation.topP",
}
_EXTERNALS = {
    "model": "policy.model",
    "model_teacher": "teacher.model.model",
    "source_train": "problems.train",
    "source_validation": "problems.validation",
    "source_test": "problems.test",
}
_OF_ARMS = {StageKind.SFT: "model", StageKind.RFT: "model", StageKind.DPO: "model", StageKind.PAIRS: "pairs"}
"""Kinds whose settings an arm may have its own of -> their role in the report's inputs."""


def settings_of(stages: Iterable[Made]) -> dict[Setting, Any]:
    """Return every setting that determined a report's results.

    Args:
        stages: the report's stage, and all from which its inputs came.

    Returns:
        Setting -> value as in JSON; digests of data and models stand under the name of what they are of. Settings of
        single stages (the size and seed of a grid point) are not there, those of arms stand once for each arm.
    """
    found: dict[Setting, Any] = {}
    stages = list(stages)
    report = next(stage for stage in stages if stage.kind is StageKind.REPORT)
    params = ReportParams.model_validate(report.params)
    arms: dict[str, list[str]] = {}
    """Key of a stage -> the arms that it is of."""
    for index, point in enumerate(params.grid):
        for role in ("model", "pairs"):
            key = report.inputs.get(f"{role}_{index}")
            if key is not None and point.arm not in arms.setdefault(key, []):
                arms[key].append(point.arm)
    for stage in stages:
        of = arms.get(stage.key, []) if stage.kind in _OF_ARMS else [""]
        for name, value in dotted_values(stage.params):
            path = _path(_places(stage), name)
            if path is not None:
                found.update({Setting(path, arm): value for arm in of})
        for role, digest in stage.externals.items():
            if role in _EXTERNALS:
                found[Setting(f"spec.{_EXTERNALS[role]}")] = digest
    return found | _grid(params)


def _grid(params: ReportParams) -> dict[Setting, Any]:
    found: dict[Setting, Any] = {
        Setting("spec.seeds"): sorted({point.seed for point in params.grid}),
        Setting("spec.problems.sizes"): sorted({point.size for point in params.grid}),
        Setting("spec.arms"): list(dict.fromkeys(point.arm for point in params.grid)),
    }
    for point in params.grid:
        found[Setting("spec.arms.method", point.arm)] = point.method
        found[Setting("spec.arms.pairs", point.arm)] = point.layout
        found[Setting("spec.arms.from", point.arm)] = point.from_arm
        sizes = found.setdefault(Setting("spec.arms.sizes", point.arm), [])
        if point.size not in sizes:
            sizes.append(point.size)
    return found


def _places(stage: Made) -> Mapping[str, str | None]:
    if stage.kind is StageKind.SAMPLE:
        return _OWN_SAMPLES if stage.params.get("split") == "train" else _TEST_SAMPLES
    return _PLACES.get(stage.kind, {})


def _path(places: Mapping[str, str | None], name: str) -> str | None:
    """Return where an Experiment has a parameter, or None if it is no setting."""
    parts = name.split(".")
    for length in range(len(parts), -1, -1):
        beginning = ".".join(parts[:length])
        if beginning in places:
            place = places[beginning]
            if place is None or place == VERIFIER:
                return place
            return ".".join(("spec", place, *map(_as_in_yaml, parts[length:])))
    return None


def _as_in_yaml(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
