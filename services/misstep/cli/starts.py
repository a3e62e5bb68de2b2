"""The files that ``misstep init`` writes.

The quickstart is the example of the repository: a wheel carries it as ``misstep/examples``, a checkout has it in
``examples``. The experiment on GSM8K is ``gsm8k.yaml`` beside this module, with a model written in.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from misstep.errors import BadInput, MisstepError

STARTS = {
    "quickstart": "the whole method on a generated task, with a tiny model that comes with it: minutes on two cores",
    "gsm8k": "a commented file for a real experiment on GSM8K, with the model that --model names",
}
GSM8K_PRESETS = ("gsm8k-base", "gsm8k-few-shot", "gsm8k-chat")
_HERE = Path(__file__).parent
_IN_THE_REPOSITORY = "misstep run examples/quickstart.yaml        (or: make demo)"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def quickstart_files() -> dict[str, bytes]:
    """Return the quickstart's files by their paths: the Experiment, its base model, the schema for editors."""
    folder = _examples()
    text = (folder / "quickstart.yaml").read_text(encoding="utf-8")
    text = text.replace(_IN_THE_REPOSITORY, "misstep run quickstart.yaml")
    model = sorted(path for path in (folder / "quickstart-base").iterdir() if path.is_file())
    return _with_schema("quickstart.yaml", text) | {f"quickstart-base/{path.name}": path.read_bytes() for path in model}


def gsm8k_files(model: str, preset: str, folder: Path) -> dict[str, bytes]:
    """Return the files of an experiment on GSM8K.

    Args:
        model: ``hf://ORG/NAME``, with ``@REVISION`` or without, or a folder.
        preset: the prompt, one of GSM8K_PRESETS.
        folder: where the file will be; a relative path of a model is written relative to it.

    Raises:
        BadInput: the model is no model, or its commit cannot be found.
    """
    from misstep.spec.edit import edit

    if preset not in GSM8K_PRESETS:
        raise BadInput("--preset", preset, f"Write one of {', '.join(GSM8K_PRESETS)}.")
    reference = _on_the_hub(model) if model.startswith("hf://") else _in_a_folder(model, folder)
    changes = [
        (("metadata", "name"), _name(reference.get("hub") or Path(model).expanduser().resolve().name)),
        (("spec", "policy", "model"), reference),
        (("spec", "policy", "prompt", "preset"), preset),
    ]
    return _with_schema("gsm8k.yaml", edit((_HERE / "gsm8k.yaml").read_text(encoding="utf-8"), changes))


def _with_schema(name: str, text: str) -> dict[str, bytes]:
    from misstep.spec.load import parse_experiment
    from misstep.spec.schema import FILE, schema_text, with_comment

    parse_experiment(text, name)  # nothing is written that `misstep validate` would refuse
    return {name: with_comment(text, FILE).encode(), FILE: schema_text().encode()}


def _examples() -> Path:
    package = _HERE.parent
    for folder in (package / "examples", package.parents[1] / "examples"):
        if (folder / "quickstart.yaml").is_file():
            return folder
    raise MisstepError("this installation of misstep lacks its examples: install it again")


def _in_a_folder(text: str, folder: Path) -> dict[str, str]:
    path = Path(text).expanduser()
    if not (path / "config.json").is_file():
        hub = f" For a model on the Hub write hf://{text}." if _REPOSITORY.fullmatch(text) else ""
        raise BadInput("--model", text, f"This is no Hugging Face model folder: it has no config.json.{hub}")
    return {"path": str(path if path.is_absolute() else Path(os.path.relpath(path, folder)))}


def _on_the_hub(text: str) -> dict[str, str]:
    repository, _, revision = text.removeprefix("hf://").partition("@")
    if not _REPOSITORY.fullmatch(repository):
        raise BadInput("--model", text, "Write hf://ORG/NAME, or hf://ORG/NAME@COMMIT.")
    if not _COMMIT.fullmatch(revision):
        revision = _commit(text, repository, revision)
    return {"hub": repository, "revision": revision}


def _commit(given: str, repository: str, revision: str) -> str:
    """Ask the Hub for the commit of a branch or a tag; of the main branch where none is named."""
    prints = f"git ls-remote https://huggingface.co/{repository} {revision or 'HEAD'} prints it"
    fix = f"Give its commit, hf://{repository}@COMMIT with 40 hex digits: {prints}."
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HTTPError
    except ModuleNotFoundError as error:
        raise BadInput("--model", given, f"The Hub cannot be asked without huggingface_hub. {fix}") from error
    try:
        found: str | None = HfApi().model_info(repository, revision=revision or None, timeout=20).sha
    except (HTTPError, OSError, ValueError) as error:  # the client's own errors are one of these
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BadInput("--model", given, f"The Hub did not say its commit ({said}). {fix}") from error
    if found is None or not _COMMIT.fullmatch(found):
        raise BadInput("--model", given, f"The Hub did not say its commit. {fix}")
    return found


def _name(model: str) -> str:
    """Make the experiment's name from that of a model or its folder."""
    words = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower()).strip("-")
    return f"gsm8k-{words}"[:40].strip("-")
