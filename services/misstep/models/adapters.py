"""Detect PEFT adapters: transformers would silently load one, together with the base in its folder or configuration."""

from __future__ import annotations

import shlex
from pathlib import Path

from misstep.errors import BadInput
from misstep.models.jsons import read_object

_NOT_MERGED = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING", "ADAPTION_PROMPT", "CPT")
"""Kinds of adapters that add to the prompt, not to the weights."""
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def check_no_adapter(folder: Path, field: str) -> None:
    """Refuse a folder that holds an adapter, alone or next to a base; say how to merge it.

    Raises:
        BadInput: the folder holds adapter_config.json or an adapter's weights.
    """
    described = (folder / "adapter_config.json").exists()
    if not described and not any((folder / name).exists() for name in _WEIGHTS):
        return
    adapter = read_object(folder / "adapter_config.json", field)
    kind = str(adapter.get("peft_type") or "PEFT")
    base = adapter.get("base_model_name_or_path")
    merged = str(folder).rstrip("/") + "-merged"
    if (folder / "config.json").is_file():
        seen = f"a {kind} adapter is next to the base model in {folder}"
        without = "To train without it, delete adapter_config.json and the adapter's weights."
        if not described:
            fix = f"To train with it, add its adapter_config.json and merge it. {without}"
        elif kind in _NOT_MERGED:
            fix = f"It cannot be merged into the weights. {without}"
        else:
            fix = f"To train with it, merge it: {_merge_beside(folder, merged)} and then name {merged}. {without}"
        raise BadInput(field, seen, fix)
    seen = f"a {kind} adapter of {base or 'an unnamed base model'}, not a whole model ({folder})"
    if kind in _NOT_MERGED or not described or not base:
        raise BadInput(field, seen, "Give a whole model: config.json and the full weights.")
    raise BadInput(
        field, seen, f"Merge it into its base: {_merge_alone(folder, str(base), merged)} and then name {merged}."
    )


def _merge_alone(folder: Path, base: str, merged: str) -> str:
    """Return a command that merges an adapter into the base that its configuration names."""
    code = (
        "import sys; from peft import AutoPeftModelForCausalLM as M; from transformers import AutoTokenizer as T; "
        "adapter, texts, out = sys.argv[1:]; "
        "M.from_pretrained(adapter, dtype='auto').merge_and_unload().save_pretrained(out); "
        "T.from_pretrained(texts).save_pretrained(out)"
    )
    texts = str(folder) if (folder / "tokenizer.json").is_file() else base
    return command(code, str(folder), texts, merged)


def _merge_beside(folder: Path, merged: str) -> str:
    """Return a command that merges an adapter into the base in the same folder.

    The adapter is moved away first, because from_pretrained on the unchanged folder loads both.
    """
    inside = str(folder / "adapter")
    code = (
        "import sys; from peft import PeftModel as P; from transformers import AutoModelForCausalLM as M, "
        "AutoTokenizer as T; base, adapter, out = sys.argv[1:]; "
        "P.from_pretrained(M.from_pretrained(base, dtype='auto'), adapter).merge_and_unload().save_pretrained(out); "
        "T.from_pretrained(base).save_pretrained(out)"
    )
    move = f"mkdir {shlex.quote(inside)} && mv {shlex.quote(str(folder))}/adapter_* {shlex.quote(inside)}/"
    return f"{move} && {command(code, str(folder), inside, merged)}"


def command(code: str, *arguments: str) -> str:
    """Return a shell command that runs Python code (which must not contain double quotes) with arguments."""
    return f'python -c "{code}" {shlex.join(arguments)}'
