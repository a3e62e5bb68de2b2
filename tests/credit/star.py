"""A policy whose every success rate is known: walks on star graphs, drawn token by token from a table.

A star has arms of one length; a walk starts at the centre, takes an arm by fixed odds, and writes one node a
line; at each later node it slips onto the next arm with a fixed probability, and its last line names the node
where it ended. The right answer is the leaf of the goal arm. Without slips the first step decides everything:
Q is the odds of the goal arm before it, then 1 on that arm and 0 elsewhere. With slips a lost walk may come
back.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from misstep.credit.selection import CreditProblem, SampledResponse
from misstep.credit.values import Counts
from misstep.generation.engine import Completion, FinishReason, Request, Usage
from misstep.generation.text import decode
from misstep.plan.params import CreditParams, DecodingParams
from misstep.verification.extract import AnswerFormat
from misstep.verification.verifier import Verifier

PIECES = ["<end>", "\n", "#### ", *map(str, range(100))]
END, NEWLINE, ANSWER, ZERO = range(4)
MANY_SAMPLES = Counts(16, 5, 0)


@cache
def piece_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token for each of PIECES, whose texts it joins; END ends a response."""
    core = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(PIECES)}))
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=PIECES[END])


def text_of(ids: Sequence[int]) -> str:
    """Return what a response's tokens say, without the end token."""
    return decode(piece_tokenizer(), ids)


@dataclass(frozen=True)
class Star:
    """Arm a holds the nodes 10 a .. 10 a + length - 1; the goal is arm 0."""

    odds: tuple[float, ...] = (0.4, 0.3, 0.3)
    length: int = 3
    slip: float = 0.0

    @property
    def gold(self) -> str:
        return str(self.length - 1)

    def following(self, response: Sequence[int]) -> dict[int, float]:
        """Return the distribution of the next token after a response's tokens."""
        nodes = [token - ZERO for token in response if token >= ZERO]
        if response and response[-1] >= ZERO:
            return {END: 1.0} if ANSWER in response else {NEWLINE: 1.0}
        if response and response[-1] == ANSWER:
            return {ZERO + nodes[-1]: 1.0}
        depth = len(nodes)
        if depth == self.length:
            return {ANSWER: 1.0}
        if depth == 0:
            return {ZERO + 10 * arm: odds for arm, odds in enumerate(self.odds) if odds}
        arm = nodes[-1] // 10
        ahead = {ZERO + 10 * arm + depth: 1 - self.slip}
        if self.slip:
            ahead[ZERO + 10 * ((arm + 1) % len(self.odds)) + depth] = self.slip
        return ahead

    def success(self, response: Sequence[int]) -> float:
        """Return the exact probability that the policy reaches the goal from here."""
        return _success(self, tuple(response))

    def walk(self, *arms: int) -> tuple[int, ...]:
        """Return the response that stands on these arms at depths 0, 1, ..."""
        assert len(arms) == self.length
        nodes = [ZERO + 10 * arm + depth for depth, arm in enumerate(arms)]
        lines = [token for node in nodes for token in (node, NEWLINE)]
        return (*lines, ANSWER, nodes[-1], END)


@cache
def _success(star: Star, response: tuple[int, ...]) -> float:
    if response and response[-1] == END:
        return float(PIECES[response[-2]] == star.gold)
    return sum(odds * _success(star, (*response, token)) for token, odds in star.following(response).items())


class StarEngine:
    """Draws from stars, which the first prompt token names. Results come in an order of its own choosing."""

    def __init__(self, stars: Sequence[Star], max_new_tokens: int = 64, order_seed: int | None = None) -> None:
        self.stars = stars
        self.requests: list[Request] = []
        self.context_length = 1024
        self.tokenizer = piece_tokenizer()
        self.end_ids = frozenset({END})
        self.usage = Usage()
        self.overlaps = False
        self.batch_rows = 64
        self._limit = max_new_tokens
        self._queue: list[Request] = []
        self._order = random.Random(order_seed) if order_seed is not None else None

    def submit(self, request: Request) -> None:
        self.requests.append(request)
        self._queue.append(request)

    def results(self) -> Iterator[tuple[Request, tuple[Completion, ...]]]:
        while self._queue:
            at = self._order.randrange(len(self._queue)) if self._order else 0
            request = self._queue.pop(at)
            yield request, tuple(self._draw(request, seed) for seed in request.seeds)

    def logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        return [self._scored(self.stars[prompt[0]], response) for prompt, response in texts]

    @staticmethod
    def _scored(star: Star, ids: Sequence[int]) -> list[float]:
        odds = (star.following(ids[:place]).get(token, 0.0) for place, token in enumerate(ids))
        return [math.log(max(each, 1e-9)) for each in odds]

    def close(self) -> None:
        self._queue.clear()

    def _draw(self, request: Request, seed: int) -> Completion:
        rng = random.Random(seed)
        star, drawn = self.stars[request.prompt_ids[0]], list(request.prompt_ids[1:])
        start, limit = len(drawn), min(self._limit, request.max_new_tokens or self._limit)
        while len(drawn) - start < limit:
            odds = star.following(drawn)
            drawn += rng.choices(list(odds), list(odds.values()))
            if drawn[-1] == END:
                break
        ids = tuple(drawn[start:])
        reason: FinishReason = "stop" if ids[-1] == END else "length"
        return Completion(ids, text_of(ids), reason, 0.0)


def credit_params(**changes: Any) -> CreditParams:
    values: dict[str, Any] = {
        "estimator": "full-scan",
        "rollouts": 40,
        "target_error": 0.02,
        "best_of": 5,
        "negatives_per_problem": 8,
        "max_negatives": None,
        "max_steps": 10,
        "step_rule": "lines",
        "answer_format": "hash",
        "timeout_seconds": 2.0,
        "decoding": DecodingParams(
            engine="transformers", dtype="float32", temperature=1.0, top_p=1.0, max_new_tokens=64
        ),
        "seed": 7,
    }
    return CreditParams(**{**values, **changes})


def star_problem(
    number: int, star: Star, walks: Sequence[tuple[int, ...]], samples: Counts = MANY_SAMPLES
) -> CreditProblem:
    """Return a problem of the star's with these walks as its negatives."""
    negatives = tuple(SampledResponse(n, ids, text_of(ids)) for n, ids in enumerate(walks))
    return CreditProblem(f"star-{number}", star.gold, (number,), samples, negatives)


def judge(items: Any) -> Any:
    """Judge with the real verifier; integers need no worker process."""
    return Verifier(AnswerFormat.HASH).judge(items)
