"""Model folders around real tokenizers: no weights, unless a test writes some."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from misstep.credit.pieces import TokenPieces
from misstep.generation.ends import end_ids
from misstep.generation.loading import load_generation_config
from misstep.generation.prompts import PromptBuilder
from misstep.generation.tokenizers import Reading, read_tokenizer
from misstep.plan.params import PromptParams
from misstep.plan.presets import PRESETS
from tests.real_tokenizers.packages import tokenizer_files

TYPES = {
    "llama2": ("llama",),
    "llama3_1": ("llama",),
    "qwen3": ("qwen3", "qwen2"),
    "deepseek_v3": ("llama", "deepseek_v3", "qwen2"),  # the paper's own model is of the first form
    "gemma3": ("gemma3_text", "gemma2"),
    "gptoss": ("gpt_oss",),
}
"""Package -> ``model_type`` of folders that hold such a file."""
CASES = [f"{package}-{kind}" for package, kinds in TYPES.items() for kind in kinds]
DISTINCT = [f"{package}-{kinds[0]}" for package, kinds in TYPES.items()]
"""One of each package: the golden pages show that its other types read the file alike."""
PLAIN = PRESETS["gsm8k-base"].prompt


@dataclass(frozen=True, repr=False)
class RealTokenizer:
    """A tokenizer as Misstep reads it from a model folder."""

    case: str
    folder: Path
    reading: Reading

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(self.case)  # hypothesis shows the arguments of what fails, and a whole tokenizer is 100 kB

    @property
    def tokenizer(self) -> Any:
        return self.reading.tokenizer

    @cached_property
    def ends(self) -> frozenset[int]:
        return end_ids(self.tokenizer, load_generation_config(self.folder))

    @cached_property
    def pieces(self) -> TokenPieces:
        return TokenPieces(self.tokenizer, self.ends)

    @cached_property
    def plain(self) -> PromptBuilder:
        return self.builder(PLAIN)

    def builder(self, params: PromptParams) -> PromptBuilder:
        return PromptBuilder(self.tokenizer, params, self.ends)

    def tokens(self, token_ids: list[int]) -> list[str]:
        tokens: list[str] = self.tokenizer.convert_ids_to_tokens(token_ids)
        return tokens


def real_tokenizer(case: str, folder: Path) -> RealTokenizer:
    """Make a model folder with a package's tokenizer, or skip the test where the package cannot be had."""
    package, _, kind = case.partition("-")
    files = tokenizer_files(package)
    for file in files.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
    return RealTokenizer(case, folder, read_tokenizer(folder))
