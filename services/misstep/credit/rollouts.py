"""Turn an engine's completions of a prefix into judged rollouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from misstep.credit.block import Prefix, Rollout
from misstep.credit.pieces import TokenPieces
from misstep.generation.engine import Completion
from misstep.generation.stops import before_stop
from misstep.terms.verdict import Judgement, Verdict

Judge = Callable[[Iterable[tuple[str, str]]], Iterator[Judgement]]
"""Judges (response, gold) pairs, in order."""


class RolloutJudge:
    """Judge whole responses: the prefix and its continuation, decoded together.

    Args:
        pieces: the policy's tokenizer.
        judge: the verifier.
        stop: strings that end a response; they are not part of its text.
    """

    def __init__(self, pieces: TokenPieces, judge: Judge, stop: Sequence[str]) -> None:
        self._pieces = pieces
        self._judge = judge
        self._stop = tuple(stop)

    def rollouts(self, prefix: Prefix, completions: Sequence[Completion]) -> list[Rollout]:
        """Return one rollout per completion, in their order.

        A cut-off response did not reach its answer: it is ``unparsable`` and not judged, as in the verify stage. The
        same holds for one whose stop string began in the prefix: sampled as a whole, it would have ended there.
        """
        before = self._pieces.decode(prefix.token_ids)
        texts = [
            before_stop(self._pieces.decode((*prefix.token_ids, *completion.token_ids)), self._stop)
            for completion in completions
        ]
        finished = [
            completion.finish_reason == "stop" and text.startswith(before)
            for completion, text in zip(completions, texts, strict=True)
        ]
        gold = prefix.problem.gold
        judged = self._judge((text, gold) for text, done in zip(texts, finished, strict=True) if done)
        return [
            Rollout(
                token_ids=tuple(completion.token_ids),
                text=text[len(before) :] if text.startswith(before) else completion.text,
                verdict=next(judged).verdict if done else Verdict.UNPARSABLE,
                finish_reason=completion.finish_reason,
            )
            for completion, text, done in zip(completions, texts, finished, strict=True)
        ]
