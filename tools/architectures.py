"""Test the transformers engine with a tiny random model of every causal type, against full passes without a cache.

python -m tools.architectures            the whole sweep (some ten minutes of a core); writes the table that the engine
                                         reads, services/misstep/generation/architectures.py, from which `make docs`
                                         writes docs/architectures.md
python -m tools.architectures TYPE ...   print what comes out for some types; writes nothing
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tools.tiny_models import MODEL_TYPES, VARIANTS, WORDS, NotBuiltError, tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

from misstep.errors import BadInput
from misstep.generation import architectures
from misstep.generation.decoders import CachedWhileShort, FullPassDecoder, OrdinaryDecoder, RowDecoder, full_pass
from misstep.generation.engine import Request
from misstep.generation.probe import Probe
from misstep.generation.transformers_engine import TransformersEngine
from misstep.plan.params import DecodingParams

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "services/misstep/generation/architectures.py"
WAYS = ("rows", "cache", "full")
SEEDS = (0, 1)
_TIE = 1e-4
"""If the logits of the two likeliest tokens are closer than this, either is right."""
_DRIFT = 0.02
_NEW_TOKENS = 30
_LENGTHS = (1, 2, 3, 3, 5, 8, 13, 13, 21)
"""Lengths of the prompts. With five rows, and one to three samples of each, rows leave at different times and others
join."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The result for a type."""

    way: str
    """rows, cache, full or refused."""
    tokens: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """An engine's greedy tokens against full passes."""

    way: str
    tokens: int
    wrong: int
    """Tokens whose logit is not within a tie of the largest."""
    drift: float
    """The largest difference of a response's log-probability, in nats: for a model that repeats one token, comparing
    tokens would show nothing."""

    @property
    def right(self) -> bool:
        return not self.wrong and self.drift < _DRIFT


def sweep_type(model_type: str) -> Seen:
    """Find the fastest way with which all tiny models of a type are right.

    Raises:
        NotBuiltError: the small settings do not fit the type.
    """
    models: list[tuple[int, dict[str, Any]]] = [(seed, {}) for seed in SEEDS]
    models += [(0, changes) for changes in VARIANTS.get(model_type, [])]
    note = ""
    for allowed in WAYS:
        tokens, ways = 0, []
        for seed, changes in models:
            model = tiny_model(model_type, seed, **changes)
            try:
                compared = compare(model, allowed)
            except BadInput as refused:
                return Seen("refused", 0, refused.fix.split(" Name a")[0])
            tokens += compared.tokens
            ways.append(compared.way)
            if not compared.right:
                note = f"By {compared.way}, {compared.wrong} of {compared.tokens} tokens were different"
                note += f", and log-probabilities of responses differed by up to {compared.drift:.2g}."
                break
        else:
            way = min(ways, key=WAYS.index)  # a model that is to run slower than others is found when loaded
            if way == "full" and not note:
                seen = Probe(model).disagreement(partial(_ordinary, model))
                note = f"With its cache, {str(seen).rstrip('.')}."
            return Seen(way, tokens, note)
    return Seen("refused", 0, "Full passes of one text differ from each other: its attention is random.")


def compare(model: PreTrainedModel, allowed: str | None) -> Compared:
    """Sample greedily with the engine, and ask full passes for each token's logit.

    Args:
        allowed: the fastest way that the engine may choose; None where its table does not know the type.
    """
    decoding = DecodingParams(
        engine="transformers", dtype="float32", temperature=0.0, top_p=1.0, max_new_tokens=_NEW_TOKENS
    )
    with table_says(model.config.model_type, allowed):
        engine = TransformersEngine(model, tiny_tokenizer(), decoding, batch_rows=5)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(5, WORDS, length).tolist() for length in _LENGTHS]
    for number, prompt in enumerate(prompts):
        engine.submit(Request(number, prompt, [0] * (1 + number % 3)))
    tokens, wrong, drift = 0, 0, 0.0
    for request, completions in engine.results():
        for completion in {completion.token_ids: completion for completion in completions}.values():
            text, logprob = list(prompts[request.request_id]), 0.0
            for token in completion.token_ids:
                logits = full_pass(model, np.array([text]))[0].double()
                wrong += bool(logits.max() - logits[token] >= _TIE)
                logprob += float(logits.log_softmax(-1)[token])
                text.append(token)
            tokens += len(completion.token_ids)
            assert completion.logprob is not None
            drift = max(drift, abs(logprob - completion.logprob))
    return Compared(_way_of(engine), tokens, wrong, drift)


def _ordinary(model: PreTrainedModel, _rows: int) -> OrdinaryDecoder:
    return OrdinaryDecoder(model)


def _way_of(engine: TransformersEngine) -> str:
    decoder = engine._decoder._cached if isinstance(engine._decoder, CachedWhileShort) else engine._decoder
    return {RowDecoder: "rows", OrdinaryDecoder: "cache", FullPassDecoder: "full"}[type(decoder)]


@contextmanager
def table_says(model_type: str, way: str | None) -> Iterator[None]:
    """Replace the engine's table inside the block by one that has only this way for one type."""
    before = architectures.TRANSFORMERS, architectures.WAYS
    architectures.TRANSFORMERS, architectures.WAYS = transformers.__version__, {model_type: way} if way else {}
    try:
        yield
    finally:
        architectures.TRANSFORMERS, architectures.WAYS = before


def table_text(seen: dict[str, Seen], not_built: dict[str, str]) -> str:
    """Return the module that the engine reads."""
    parts: dict[str, tuple[str, Mapping[str, str | int]]] = {
        "WAYS": ("By type: rows, cache, full, or refused.", {name: one.way for name, one in seen.items()}),
        "TOKENS": ("By type: tokens compared.", {name: one.tokens for name, one in seen.items() if one.tokens}),
        "NOTES": (
            "Observations on the types that need a slower way or do not work.",
            {n: o.note for n, o in seen.items() if o.note},
        ),
        "NOT_BUILT": ("Why no tiny model of a type could be made.", not_built),
    }
    lines = [
        '"""How each architecture of transformers runs: made by tools.architectures, not edited by hand."""',
        "",
        "# ruff: noqa: E501",
        "",
    ]
    lines += [f'TRANSFORMERS = "{transformers.__version__}"']
    for name, (about, table) in parts.items():
        kind = "int" if name == "TOKENS" else "str"
        lines += [f"{name}: dict[str, {kind}] = {{"]
        lines += [f"    {json.dumps(key)}: {json.dumps(value)}," for key, value in sorted(table.items())]
        lines += ["}", f'"""{about}"""']
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """Sweep; returns the exit code."""
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    seen: dict[str, Seen] = {}
    not_built: dict[str, str] = {}
    for model_type in argv or MODEL_TYPES:
        try:
            seen[model_type] = sweep_type(model_type)
            print(f"{model_type}: {seen[model_type]}", flush=True)
        except NotBuiltError as error:
            not_built[model_type] = str(error)
            print(f"{model_type}: not built, {error}", flush=True)
    if argv:
        return 0
    TABLE.write_text(table_text(seen, not_built))
    print(f"wrote {TABLE.relative_to(ROOT)}; `make docs` writes the page")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
