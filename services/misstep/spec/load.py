"""Read an Experiment from YAML, and say what is wrong with it field by field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from misstep.errors import BadInput
from misstep.spec import yaml12
from misstep.spec.experiment import Experiment
from misstep.spec.fields import dotted
from misstep.spec.quoted import quoted_note
from misstep.text import did_you_mean


def load_experiment(path: Path | str, note: Callable[[str], None] | None = None) -> Experiment:
    """Read and check one Experiment. Local paths in it become absolute, from the file's own folder.

    Args:
        note: called with a sentence about what should be written otherwise, where something should.

    Raises:
        BadInput: unreadable file, bad YAML, or wrong fields; the error names every wrong field, one per line.
    """
    path = Path(path)
    return experiment_of(read_document(path), path, note)


def experiment_of(document: dict[str, Any], path: Path, note: Callable[[str], None] | None = None) -> Experiment:
    """Check an Experiment that `read_document` has read, as `load_experiment` does."""
    experiment = check_document(document, str(path))
    if note is not None and (sentence := quoted_note(document)):
        note(sentence)
    return _absolute_paths(experiment, path.resolve().parent)


def read_document(path: Path) -> dict[str, Any]:
    """Read an Experiment's YAML unchanged, except for its status, which is removed. Raises BadInput if it is not a
    mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(str(path), error.strerror or str(error), "Give the path of an Experiment YAML file.") from error
    except UnicodeDecodeError as error:
        raise BadInput(str(path), "not UTF-8 text", "Give the path of an Experiment YAML file.") from error
    return parse_document(text, str(path))


def parse_experiment(text: str, origin: str = "the YAML") -> Experiment:
    """Check an Experiment given as text. Raises BadInput as `load_experiment` does."""
    return check_document(parse_document(text, origin), origin)


def parse_document(text: str, origin: str = "the YAML") -> dict[str, Any]:
    """Read the one mapping in a YAML text, without its status. Raises BadInput if the text holds anything else."""
    try:
        documents = [d for d in yaml12.load_all(text) if d is not None]
    except yaml12.YAMLError as error:
        raise BadInput(origin, yaml12.error_text(error), "Correct the YAML there.") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise BadInput(origin, f"{len(documents)} YAML documents", "Write exactly one Experiment in the file.")
    document: dict[str, Any] = documents[0]
    document.pop("status", None)
    return document


def check_document(document: dict[str, Any], origin: str) -> Experiment:
    """Check an Experiment given as data. Raises BadInput as `load_experiment` does."""
    try:
        return Experiment.model_validate(document)
    except ValidationError as error:
        raise _bad_input(origin, error.errors(include_url=False)) from error


class InvalidExperiment(BadInput):
    """Several fields are wrong; the text has a line for each."""

    def __init__(self, origin: str, problems: list[BadInput]) -> None:
        super().__init__(problems[0].field, problems[0].value, problems[0].fix)
        self.problems = problems
        if len(problems) > 1:
            lines = "\n".join(f"  {p}" for p in problems)
            self.args = (f"{origin} has {len(problems)} wrong fields:\n{lines}",)


def _bad_input(origin: str, errors: list[ErrorDetails]) -> BadInput:
    return InvalidExperiment(origin, [_explain(e) for e in errors])


_FIXES = {
    "missing": "This field is required: add it.",
    "bool_type": "Write true or false.",
    "bool_parsing": "Write true or false.",
    "string_type": "Write text (in quotes where it looks like a number).",
    "int_type": "Write a whole number without quotes.",
    "int_parsing": "Write a whole number without quotes.",
    "int_from_float": "Write a whole number.",
    "list_type": "Write a list: [a, b].",
    "model_type": "Write a mapping of fields here.",
}


def _explain(error: ErrorDetails) -> BadInput:
    field = dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        return BadInput(field, "no such field", _nearest(error["loc"]))
    if error["type"] == "missing":
        return BadInput(field, "not given", _FIXES["missing"])
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"]) if "ctx" in error else error["msg"]
        if isinstance(error["input"], dict):  # several fields contradict each other: the message names them
            return BadInput(field, message, "")
        return BadInput(field, error["input"], f"{message[:1].upper()}{message[1:]}.")
    fix = _FIXES.get(error["type"], f"{error['msg']}.")
    return BadInput(field, error["input"], fix)


def _nearest(loc: tuple[int | str, ...]) -> str:
    names = _field_names(loc[:-1])
    otherwise = f"Fields here are: {', '.join(sorted(names))}." if names else "Remove it."
    return did_you_mean(str(loc[-1]), names, otherwise, cutoff=0.5)


def _field_names(loc: tuple[int | str, ...]) -> list[str]:
    from misstep.spec.explain import model_at

    model: type[BaseModel] | None = model_at([str(p) for p in loc if not isinstance(p, int)])
    return [f.alias or name for name, f in model.model_fields.items()] if model else []


def _absolute_paths(experiment: Experiment, folder: Path) -> Experiment:
    spec = experiment.spec

    def absolute(path: str | None) -> str | None:
        return str((folder / Path(path).expanduser()).resolve()) if path else None

    def located(source: Any) -> Any:
        return source.model_copy(update={"path": absolute(source.path)}) if source else None

    problems = spec.problems.model_copy(
        update={role: located(getattr(spec.problems, role)) for role in ("train", "test", "validation")}
    )
    policy = spec.policy.model_copy(update={"model": located(spec.policy.model)})
    teacher = spec.teacher
    if teacher.model is not None:
        local = teacher.model.model_copy(update={"model": located(teacher.model.model)})
        teacher = teacher.model_copy(update={"model": local})
    changed = {"problems": problems, "policy": policy, "teacher": teacher}
    return experiment.model_copy(update={"spec": spec.model_copy(update=changed)})
