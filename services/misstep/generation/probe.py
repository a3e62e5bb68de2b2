"""Compare a decoder with full passes on a few short texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
from transformers import PreTrainedModel

from misstep.errors import BadInput
from misstep.generation.decoders import Decoder, full_pass
from misstep.generation.row_cache import Ints, UnsupportedAttentionError

_TOKENS = 14
"""Of each text."""
_SHARED = 5
"""Tokens of the prompt that two of the texts share."""
_STEPS = 3
"""Of each phase."""
_TOLERANCE = {torch.float32: 2e-3, torch.float64: 1e-6}
"""The tolerance of logits, relative to their spread, for the largest error in a phase."""
_HALF_TOLERANCE = 0.1
"""The same in half precision, for the median: rounding may route single tokens to another expert."""
_REFUSED, _HALF_REFUSED = 0.02, 0.3
"""The median difference between full passes at which a model is refused; the second is for half precision."""
FAULTS = (
    AttributeError,
    AssertionError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    UnsupportedAttentionError,
    ValueError,
)
"""What models raise for a cache or an attention that they cannot use."""


class Probe:
    """The logits of full passes after each token of four random texts; the third begins like the first.

    Raises:
        BadInput: a full pass over text fails, or its logits depend on more than the text so far.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._texts: Ints = np.random.default_rng(0).choice(_ordinary_ids(model), (4, _TOKENS))
        self._texts[2, :_SHARED] = self._texts[0, :_SHARED]
        try:
            self._expected = [self._all_logits(text) for text in self._texts]
            # Also compare the logits of the last token only, as in the definition, at some lengths.
            ends = {length: full_pass(model, self._texts[:1, :length])[0] for length in (1, 4, 7, 10)}
            together = full_pass(model, self._texts)
        except torch.OutOfMemoryError:
            raise
        except FAULTS as error:
            raise self.refusal(f"A forward pass over text fails: {_said(error)}.") from error
        self.finite = all(bool(logits.isfinite().all()) for logits in self._expected)
        if not self.finite:
            return
        self._exact = model.dtype in _TOLERANCE
        self._tolerance = _TOLERANCE.get(model.dtype, _HALF_TOLERANCE)
        refused_from = _REFUSED if self._exact else _HALF_REFUSED
        errors = [self.error(logits, 0, length - 1) for length, logits in ends.items()]
        if median(errors) > refused_from:
            raise self.refusal(
                "Its logits after a token depend on later tokens: as configured it is not a causal language model "
                f"(logits differ by {median(errors):.1g} of their spread)."
            )
        errors = [self.error(logits, text, _TOKENS - 1) for text, logits in enumerate(together)]
        if median(errors) > refused_from:
            raise self.refusal(
                "Its logits depend on chance or on other texts of the batch (they differ by "
                f"{median(errors):.1g} of their spread)."
            )

    def disagreement(self, make: Callable[[int], Decoder]) -> str | None:
        """Return how a decoder differs from full passes; None if it does not.

        Args:
            make: creates the decoder for a number of rows.
        """
        try:
            for phase, errors in self._phases(make(4)):
                seen = max(errors) if self._exact else median(errors)
                if not seen <= self._tolerance:
                    return f"{phase}, logits differ by {seen:.1g} of their spread from those of full passes"
        except torch.OutOfMemoryError:
            raise
        except FAULTS as error:
            return f"it fails with {_said(error)}"
        return None

    def _phases(self, decoder: Decoder) -> Iterator[tuple[str, list[float]]]:
        """Do the engine's operations on rows; yield each operation's name, and the errors of the steps after it."""
        rows = _Rows(decoder, self)
        rows.start([0, 1], [_SHARED, 3 if decoder.joins else _SHARED])
        rows.fork(0, text=2)
        yield "after prompts were read", rows.steps()
        rows.leave(0)
        yield "after a row left", rows.steps()
        if decoder.joins:
            rows.start([3, 0], [4, 1])
            yield "after rows joined", rows.steps()
        decoder.clear()
        rows = _Rows(decoder, self)
        rows.start([3, 1], [1, 1])
        rows.fork(1, text=1)
        yield "with prompts of one token", rows.steps()
        decoder.clear()

    def tokens(self, text: int) -> list[int]:
        ids: list[int] = self._texts[text].tolist()
        return ids

    def error(self, logits: torch.Tensor, text: int, at: int) -> float:
        """Return how much logits (vocabulary) differ from those of a full pass after a text's token ``at``.

        The difference is relative to their spread. A common offset from rounding is ignored, since softmax does not
        depend on it.
        """
        expected = self._expected[text][at]
        spread = (expected - expected.mean()).norm()
        rounding = torch.finfo(self._model.dtype).eps * expected.norm()
        return float(((logits.float() - expected).norm() - rounding).clamp_min(0) / spread.clamp_min(1e-9))

    def _all_logits(self, text: Ints) -> torch.Tensor:
        with torch.inference_mode():
            ids = torch.from_numpy(text[None]).to(self._model.device)
            logits: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits.float()
        if logits.shape[:2] != (1, _TOKENS):
            raise ValueError(f"it returns logits of shape {tuple(logits.shape)} for {_TOKENS} tokens")
        return logits[0]

    def refusal(self, seen: str) -> BadInput:
        """Return the error that refuses the model, with the observation."""
        config = self._model.config
        fix = f"{seen} Name a causal language model for text, or sample with spec.sampling.engine: vllm."
        return BadInput("spec.policy.model", f"{config.name_or_path} ({config.model_type})".lstrip(), fix)


class _Rows:
    """The rows in use of a decoder: which text each follows, and how far."""

    def __init__(self, decoder: Decoder, probe: Probe) -> None:
        self._decoder, self._probe = decoder, probe
        self._texts: list[int] = []
        self._at: list[int] = []

    def start(self, texts: list[int], lengths: list[int]) -> None:
        prompts = [self._probe.tokens(text)[:length] for text, length in zip(texts, lengths, strict=True)]
        self._decoder.prefill(len(self._texts), prompts, _TOKENS)
        self._texts += texts
        self._at += [length - 1 for length in lengths]

    def fork(self, source: int, text: int) -> None:
        """Add a row with the prompt of another row; it continues with another text that begins with that prompt."""
        target = len(self._texts)
        self._decoder.fork(np.array([source]), np.array([target]), np.array([self._at[source]]))
        self._texts.append(text)
        self._at.append(self._at[source])

    def leave(self, row: int) -> None:
        """Replace a row by the last row."""
        text, at = self._texts.pop(), self._at.pop()
        self._texts[row], self._at[row] = text, at
        last = len(self._texts)
        self._decoder.move(np.array([last]), np.array([row]), np.array([at]), last)

    def steps(self) -> list[float]:
        errors: list[float] = []
        for _ in range(_STEPS):
            at = np.array(self._at)
            tokens = np.array([self._probe.tokens(text)[i] for text, i in zip(self._texts, self._at, strict=True)])
            logits = self._decoder.step(tokens, at)
            errors += [self._probe.error(*row) for row in zip(logits, self._texts, self._at, strict=True)]
            self._at = [i + 1 for i in self._at]
        return errors


def _ordinary_ids(model: PreTrainedModel) -> Ints:
    """Return the ids without a role: padding has no position in some models, and an image token represents an image."""
    config = model.config.get_text_config(decoder=True)
    roles = [vars(owner).items() for owner in (model.config, config)]
    special = [ids for items in roles for name, ids in items if name.endswith(("_token_id", "_token_index"))]
    ordinary = np.setdiff1d(np.arange(config.vocab_size), np.array([i for i in special if isinstance(i, int)]))
    return ordinary if len(ordinary) else np.arange(config.vocab_size)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
