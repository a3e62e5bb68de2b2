"""Compare names and shapes of a folder's weights with those of the model that its config.json builds."""

from __future__ import annotations

import pickle
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput
from misstep.inspection.ties import check_tied_weights_are_equal
from misstep.models.fields import MODEL, named
from misstep.models.jsons import read_object
from misstep.models.kind import causal_model
from misstep.models.mismatch import Mismatch, unused_weights
from misstep.models.weight_files import Tensor, tensors_of, weight_files

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class WeightsReport:
    """The facts about a model from its configuration and the headers of its weights."""

    architecture: str
    """Class of transformers."""
    model_type: str
    parameters: int
    """Numbers in all weights; a weight that several layers share counts once."""
    trained: int
    """Parameters that training without LoRA changes."""
    tied: Mapping[str, str]
    """Name of a weight -> name of the one that it shares."""
    dtypes: Mapping[str, int]
    """Type in the spelling of config.json (bfloat16) -> numbers of that type in the files."""
    bytes: int
    """Of the files."""
    files: tuple[str, ...]
    context: int | None
    """Tokens of prompt and response; None if the configuration does not say."""
    embeddings: int
    """Rows of the embedding: token ids must be below."""
    unusual: tuple[str, ...]
    """Unusual but working properties, as sentences without capital letter and full stop."""


def check_weights(folder: Path, field: str = MODEL) -> WeightsReport:
    """Check that a folder's weights fit the model that its config.json builds.

    The model is built without memory for its weights (torch's meta device), and transformers' own loading fills it with
    tensors that have names, shapes and types but no data. So renamed, merged, tied and ignored weights are checked by
    the same rules as when the model is loaded. It takes seconds for a model of any size.

    Args:
        folder: of the model, which ``check_folder`` accepts.
        field: the field that names the folder, for errors.

    Raises:
        BadInput: weights that are missing, unused or of another shape; tied weights that differ.
    """
    from misstep.generation.loading import load_config

    with named(field):
        config = load_config(folder)
    model_class, own = causal_model(config, folder, field)
    files = weight_files(folder, read_object(folder / "config.json", field), field)
    tensors = tensors_of(files, field)
    empty = _without_data(files, tensors, field)
    model = _fill(model_class, own, empty, folder, field)
    check_tied_weights_are_equal(model, files, tensors, folder, field)
    return _report(model, config, files, empty)


def _fill(
    model_class: type[Any], config: Any, tensors: dict[str, torch.Tensor], folder: Path, field: str
) -> PreTrainedModel:
    """Load tensors without data into a model without data. Raises BadInput if they do not fit."""
    import torch
    from huggingface_hub.errors import StrictDataclassError

    invalid = (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, AssertionError)
    broken = (*invalid, RuntimeError, ImportError, StrictDataclassError)
    try:
        with _quiet(), torch.device("meta"):
            model_class(config)
    except broken as error:
        said = " ".join(str(error).split())
        raise BadInput(
            field, f"config.json builds no {model_class.__name__}: {said} ({folder})", "Correct config.json."
        ) from error
    names = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        with _quiet():
            model, found = model_class.from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                device_map="meta",
                dtype="auto",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except broken as error:
        mismatch = Mismatch(config=config, names=names, model_class=model_class.__name__)
        raise mismatch.refusal(folder, field, error) from error
    mismatch = Mismatch(
        config=config,
        names=names,
        model_class=model_class.__name__,
        missing=sorted(found["missing_keys"]),
        unused=unused_weights(found["unexpected_keys"]),
        misshapen=sorted((name, tuple(held), tuple(wanted)) for name, held, wanted in found["mismatched_keys"]),
    )
    if mismatch:
        raise mismatch.refusal(folder, field)
    return model


def _without_data(files: Sequence[Path], tensors: Mapping[str, Tensor], field: str) -> dict[str, torch.Tensor]:
    """Return tensors on the meta device with the names, shapes and types of those in the files."""
    import torch
    from transformers.modeling_utils import str_to_torch_dtype

    made = {
        name: torch.empty(tensor.shape, dtype=str_to_torch_dtype[tensor.dtype], device="meta")
        for name, tensor in tensors.items()
    }
    for file in files:
        if file.suffix != ".safetensors":
            try:
                held = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
            except (RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
                seen = f"{file.name} holds more than weights, or is damaged ({file})"
                raise BadInput(field, seen, "Fetch it again, or give the weights as safetensors.") from error
            if not isinstance(held, dict):
                seen = f"{file.name} holds a {type(held).__name__}, not weights by name ({file})"
                raise BadInput(field, seen, "Fetch it again, or give the weights as safetensors.")
            made.update({name: value.to("meta") for name, value in held.items() if isinstance(value, torch.Tensor)})
    return made


def _report(
    model: PreTrainedModel, config: Any, files: Sequence[Path], tensors: Mapping[str, torch.Tensor]
) -> WeightsReport:
    from misstep.generation.loading import declared_context_length

    dtypes: Counter[str] = Counter()
    for tensor in tensors.values():
        if tensor.is_floating_point():
            dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    tied = dict(getattr(model, "all_tied_weights_keys", None) or {})
    by_name = dict(model.named_parameters(remove_duplicate=False))
    # Without data transformers cannot see that two tied weights of the files are equal, and keeps both.
    apart = {name: by_name.get(same) for name, same in tied.items()}
    unique = {
        id(weight if apart.get(name) is None else apart[name]): weight for name, weight in by_name.items()
    }.values()
    return WeightsReport(
        architecture=type(model).__name__,
        model_type=str(config.model_type),
        parameters=sum(weight.numel() for weight in unique),
        trained=sum(weight.numel() for weight in unique if weight.requires_grad),
        tied=tied,
        dtypes=dict(dtypes.most_common()),
        bytes=sum(file.stat().st_size for file in files),
        files=tuple(file.name for file in files),
        context=declared_context_length(config),
        embeddings=int(model.get_input_embeddings().weight.shape[0]),
        unusual=tuple(_unusual(model, config, dtypes)),
    )


def _unusual(model: PreTrainedModel, config: Any, dtypes: Mapping[str, int]) -> Iterator[str]:
    declared = getattr(config, "dtype", None)
    spelt = None if declared is None else str(declared).removeprefix("torch.")
    main = next(iter(dtypes), None)
    if len(dtypes) > 1:
        shares = ", ".join(f"{count:,} {dtype}" for dtype, count in dtypes.items())
        yield f"the files hold numbers of several types: {shares}"
    if spelt and main and spelt != main:
        yield f"the files hold {main}, and config.json says {spelt}"
    if main == "float16":
        yield "the files hold float16; Misstep samples in bfloat16 or float32"
    if model.config.model_type != config.model_type:
        yield f"of the multimodal model of type {config.model_type} only the language model is trained and written"
    text = config.get_text_config(decoder=True)
    rows = int(model.get_input_embeddings().weight.shape[0])
    if isinstance(vocabulary := getattr(text, "vocab_size", None), int) and vocabulary != rows:
        yield f"the embedding has {rows:,} rows, and config.json says a vocabulary of {vocabulary:,}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Prevent transformers from printing its own report and a progress bar: findings are reported as an error."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
