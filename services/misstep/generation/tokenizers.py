"""Load the tokenizer of a model folder so that text survives encoding.

A fast tokenizer can be read in two ways: directly from ``tokenizer.json``, or with the class that
``tokenizer_config.json`` names, which takes only the vocabulary from the file and adds its own rules. If the two
differ, the file is right: the model was trained with it. DeepSeek's byte-level files under the class
``LlamaTokenizerFast`` are the known case: the class drops every space and newline.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub.errors import StrictDataclassError

from misstep.errors import BadInput
from misstep.generation.text import PROBES, decode, encode

_log = logging.getLogger(__name__)
FILE = "tokenizer.json"
_LITERAL = "TokenizersBackend"
"""The class that uses ``tokenizer.json`` unchanged."""
UNLOADABLE = (
    StrictDataclassError,
    ArithmeticError,
    AttributeError,
    ImportError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What transformers raises for folders that are missing, incomplete or of an unknown kind."""


@dataclass(frozen=True)
class Reading:
    """A tokenizer, and how it was read."""

    tokenizer: Any
    by: Literal["class", "file"]
    """``file``: directly from ``tokenizer.json``, because the class reads it differently."""
    class_name: str
    """The class that transformers chose."""
    notes: tuple[str, ...] = ()
    """Unusual observations, as sentences."""


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model folder, and log unusual observations.

    Raises:
        BadInput: there is no such folder, or no tokenizer in it.
    """
    reading = read_tokenizer(folder)
    for note in reading.notes:
        _log.warning("tokenizer of %s: %s", folder, note)
    return reading.tokenizer


def read_tokenizer(folder: Path) -> Reading:
    """Load the tokenizer of a model folder in the way that its author intended.

    Raises:
        BadInput: there is no such folder, or no tokenizer in it.
    """
    if not (folder / "config.json").is_file():
        raise BadInput("model", str(folder), "Name a Hugging Face model folder: one that holds config.json.")
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    config = _config(folder)
    notes: list[str] = []
    by: Literal["class", "file"] = "class"
    file = folder / FILE
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        class_name = type(tokenizer).__name__
        lost = None
    # The tokenizers library raises bare Exception. If the class cannot read the file, the file alone is used.
    except Exception as error:
        tokenizer, class_name, lost = None, str(config.get("tokenizer_class")), f"it fails, {first_line(error)}"
        if "tokenizer_class" not in config or not file.is_file():
            raise BadInput("model", str(folder), f"It holds no tokenizer that loads: {first_line(error)}") from error
    if tokenizer is None or (tokenizer.is_fast and file.is_file() and class_name != _LITERAL):
        try:
            as_it_stands = Tokenizer.from_file(str(file))
            as_it_stands.no_truncation()
            as_it_stands.no_padding()
            lost = lost or _difference(tokenizer, as_it_stands, config)
            if lost is not None:
                tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
                by = "file"
                notes.append(f"{FILE} is read directly, because the class {class_name} reads it differently: {lost}")
        # The tokenizers library raises bare Exception for a file that is not a tokenizer.
        except Exception as error:
            raise BadInput("model", str(folder), f"Its {FILE} does not load: {first_line(error)}") from error
    if _begin_as_configured(tokenizer, config):
        notes.append(
            f"a text begins with {tokenizer.bos_token}, as add_bos_token in tokenizer_config.json says; {FILE} alone "
            "would leave it out"
        )
    return Reading(tokenizer, by, class_name, tuple(notes))


def _config(folder: Path) -> dict[str, Any]:
    """Return the contents of tokenizer_config.json; empty if it cannot be read."""
    try:
        held = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def _difference(tokenizer: Any, file: Any, config: dict[str, Any]) -> str | None:
    """Describe the first probe that class and file read differently."""
    for text in PROBES:
        by_file = file.encode(text, add_special_tokens=False).ids
        try:
            by_class = encode(tokenizer, text)
            text_by_class = decode(tokenizer, by_class)
        # The tokenizers library raises bare Exception if a class's rules and the file's vocabulary contradict each
        # other.
        except Exception as error:  # noqa: BLE001
            return f"{text!r} fails: {first_line(error)}"
        if by_class != by_file or (text_by_class != text == file.decode(by_file)):
            return _parted(text, by_class, text_by_class, by_file, file.decode(by_file))
    # A class may add its own special tokens, with ids for which the model has no embedding.
    around = [number for number in tokenizer("a")["input_ids"] if file.id_to_token(number) is None]
    for token in tokenizer.convert_ids_to_tokens(around):
        if json.dumps(token) not in json.dumps(config):
            return f"it puts {token!r} around a text, which neither {FILE} nor tokenizer_config.json holds"
    return None


def _parted(text: str, by_class: list[int], text_by_class: str, by_file: list[int], text_by_file: str) -> str:
    if text_by_class != text_by_file:
        return f"{text!r} comes back as {text_by_class!r} from the class, and as {text_by_file!r} from the file"
    at = next((i for i, (a, b) in enumerate(zip(by_class, by_file, strict=False)) if a != b), 0)
    return f"{text!r} is {len(by_class)} tokens by the class and {len(by_file)} by the file, another one at place {at}"


def _begin_as_configured(tokenizer: Any, config: dict[str, Any]) -> bool:
    """Put the beginning-of-sequence token before a text if the folder's configuration says so and the file does not.

    transformers 5 ignores ``add_bos_token`` if there is a ``tokenizer.json``; version 4, with which most models were
    made, respected it. Once set, it is part of the file that is written.

    Returns:
        Whether anything was changed.
    """
    bos = tokenizer.bos_token_id
    if config.get("add_bos_token") is not True or bos is None or not tokenizer.is_fast:
        return False
    if tokenizer("a")["input_ids"][:1] == [bos]:
        return False
    tokenizer.add_bos_token = True
    return bool(tokenizer("a")["input_ids"][:1] == [bos])


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, for a message."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
