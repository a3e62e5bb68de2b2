"""Write a model's settings to a temporary folder and read them again, before anything is trained.

After training, the start folder's own configuration, generation configuration and tokenizer are written. Writing each
of them can fail, or change it; then training would be lost or the result wrong.
"""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput
from misstep.generation.tokenizers import first_line
from misstep.models.fields import MODEL, named
from misstep.models.jsons import read_object
from misstep.models.kind import causal_model

if TYPE_CHECKING:
    from transformers import GenerationConfig

_PROBE = "  Q: 8+8=<<8+8=16>>16 ,\n\n\tso $x^2$ is \\boxed{\\frac{1}{2}} .\n#### 1,024  Größe 数 don't 🙂 "
_NOT_COMPARED = frozenset(
    ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype", "auto_map")
)
"""Fields of config.json that transformers rewrites, or that name code that is not used."""
_STRAY = re.compile(r"^- `(\w+)`:", re.MULTILINE)
"""Names in the error of a strict check of a generation configuration."""


@dataclass(frozen=True)
class Rehearsal:
    """The intended differences between the settings of a folder and the written ones."""

    left_out: Mapping[str, Any]
    """Fields of the generation configuration without effect: name -> value."""

    @property
    def unusual(self) -> tuple[str, ...]:
        """Sentences for people, without capital letter and full stop."""
        if not self.left_out:
            return ()
        fields = ", ".join(f"{name} {value!r}" for name, value in self.left_out.items())
        return (
            f"generation_config.json sets {fields} without the field that makes it act, such as do_sample: generate() "
            "ignores it, and the written model leaves it out",
        )


def rehearse_writing(folder: Path, field: str = MODEL, tokenizer: Any = None) -> Rehearsal:
    """Write the files that training will write in addition to the weights, and read them again.

    Args:
        folder: of the model, which ``check_folder`` accepts.
        field: the field that names the folder, for errors.
        tokenizer: the folder's tokenizer, if it is loaded already.

    Raises:
        BadInput: the configuration, the generation configuration or the tokenizer cannot be read or written, or comes
            back with other values. The error names them.
    """
    from huggingface_hub.errors import StrictDataclassError

    from misstep.generation.loading import load_config, load_generation_config
    from misstep.generation.tokenizers import load_tokenizer

    unwritable = (OSError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, StrictDataclassError)
    with named(field):
        _, config = causal_model(load_config(folder), folder, field)
        tokenizer = load_tokenizer(folder) if tokenizer is None else tokenizer
    generation_config, left_out = savable(load_generation_config(folder, field), folder, field)
    with tempfile.TemporaryDirectory(prefix="misstep-rehearsal-") as name:
        written = Path(name)
        for what, settings in (
            ("config.json", config),
            ("generation_config.json", generation_config),
            ("the tokenizer", tokenizer),
        ):
            try:
                settings.save_pretrained(written)
            except unwritable as error:
                raise BadInput(
                    field,
                    f"{what} cannot be written after training: {first_line(error)} ({folder})",
                    f"Correct it in the folder: {_rest(error)}",
                ) from error
        with named(field):
            differences = [
                *_different_config(config, load_config(written)),
                *_different_values("generation_config.json", generation_config, load_generation_config(written, field)),
                *_different_tokenizer(tokenizer, load_tokenizer(written)),
            ]
    if differences:
        raise BadInput(
            field,
            f"it comes back different when written and read again: {differences[0]} ({folder})",
            f"The written model would differ ({len(differences)} differences: {'; '.join(differences[:3])}). "
            "Correct it in the folder, or save the folder again with this version of transformers.",
        )
    return Rehearsal(left_out)


def savable(
    generation_config: GenerationConfig, folder: Path, field: str = MODEL
) -> tuple[GenerationConfig, dict[str, Any]]:
    """Return a copy of a generation configuration that transformers can write, and what is not in it.

    Fields that ``generate()`` ignores, such as a temperature without do_sample, are left out: so the written model
    generates like the starting model, and the two can be compared. Setting do_sample instead would change that.

    Raises:
        BadInput: the configuration has another error.
    """
    from transformers import GenerationConfig

    cleaned, defaults = copy.deepcopy(generation_config), GenerationConfig()
    left_out: dict[str, Any] = {}
    for _ in range(len(vars(cleaned))):
        try:
            cleaned.validate(strict=True)
        except (ValueError, TypeError) as error:
            stray = [name for name in _STRAY.findall(str(error)) if name not in left_out]
            if not stray:
                raise _refusal(error, folder, field) from error
            for name in stray:
                left_out[name] = getattr(cleaned, name)
                setattr(cleaned, name, getattr(defaults, name, None))
        else:
            break
    return cleaned, left_out


def _refusal(error: Exception, folder: Path, field: str, file: str = "generation_config.json") -> BadInput:
    named = next((name for name in read_object(folder / file, field) if f"`{name}`" in str(error)), None)
    what = file if named is None else f"{named} in {file}"
    return BadInput(field, f"{what}: {first_line(error)} ({folder})", "Correct it or remove it there.")


def _different_config(before: Any, after: Any) -> Iterator[str]:
    if type(before) is not type(after):
        yield f"config.json is of {type(before).__name__} and then of {type(after).__name__}"
        return
    yield from _different_values("config.json", before, after)


def _different_values(file: str, before: Any, after: Any) -> Iterator[str]:
    old, new = before.to_dict(), after.to_dict()
    for name in sorted(old.keys() | new.keys()):
        if name not in _NOT_COMPARED and not _same(old.get(name), new.get(name)):
            yield f"{name} in {file} is {old.get(name)!r} and then {new.get(name)!r}"


def _same(old: Any, new: Any) -> bool:
    """Compare values after conversion to JSON: keys are strings, and a tuple is a list."""
    if isinstance(old, dict) and isinstance(new, dict):
        left, right = ({str(k): v for k, v in side.items() if k not in _NOT_COMPARED} for side in (old, new))
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(old == new) or (isinstance(old, float) and isinstance(new, float) and isnan(old) and isnan(new))


def _different_tokenizer(before: Any, after: Any) -> Iterator[str]:
    named = ("bos_token", "eos_token", "pad_token", "unk_token", "chat_template", "model_max_length")
    for name in named:
        old, new = getattr(before, name, None), getattr(after, name, None)
        if old != new:
            yield f"the tokenizer's {name} is {_short(old)} and then {_short(new)}"
    for name, old, new in (
        ("special tokens", set(before.all_special_ids), set(after.all_special_ids)),
        ("vocabulary", before.get_vocab(), after.get_vocab()),
        ("added tokens", _added(before), _added(after)),
    ):
        if old != new:
            yield f"the tokenizer's {name} differ"
    for special in (True, False):
        old, new = (list(t(_PROBE, add_special_tokens=special)["input_ids"]) for t in (before, after))
        if old != new:
            yield f"the tokens of a probe text are {old[:6]}... and then {new[:6]}..."
        elif before.decode(old) != after.decode(old):
            yield f"tokens decode to {before.decode(old)[:40]!r} and then to {after.decode(old)[:40]!r}"


def _added(tokenizer: Any) -> dict[int, str]:
    return {number: repr(token) for number, token in tokenizer.added_tokens_decoder.items()}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _rest(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[1:3]) if len(lines) > 1 else "transformers refuses it."
