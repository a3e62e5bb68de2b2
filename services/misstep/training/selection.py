"""Choice of a checkpoint by the accuracy of sampled answers to validation problems.

By sampling and not by loss: the loss goes on falling while a policy becomes over-trained, and credit drawn from an
over-trained policy carries no signal (arXiv 2406.14532, section 6).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from misstep.plan.params import SelectionParams
from misstep.stages.heartbeat import beat
from misstep.training.ranks import total, whole_weights, world

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Score:
    """One scoring: of ``problems`` answers, so many were ``correct``."""

    epoch: int
    step: int
    problems: int
    correct: int


class Selection:
    """The scorings so far, and what they say: which is best, and whether to go on."""

    def __init__(self, patience: int | None, scores: Sequence[Score] = ()) -> None:
        self._patience = patience
        self.scores = list(scores)

    @property
    def best(self) -> Score | None:
        """The earliest of the scorings with the most correct answers."""
        return max(self.scores, key=lambda score: (score.correct, -score.step), default=None)

    @property
    def exhausted(self) -> bool:
        """Tell whether the last ``patience`` scorings were all no better than the best before them."""
        if self._patience is None or self.best is None:
            return False
        return len(self.scores) - 1 - self.scores.index(self.best) >= self._patience

    def add(self, score: Score) -> bool:
        """Add a scoring; tell whether it is the best."""
        self.scores.append(score)
        return self.best is score

    def as_json(self) -> list[dict[str, int]]:
        return [asdict(score) for score in self.scores]


@dataclass(frozen=True, slots=True)
class Question:
    """A validation problem, ready to be asked."""

    problem_id: str
    prompt_ids: Sequence[int]
    gold: str


class Scorer:
    """Samples one answer to each validation problem and counts the correct ones."""

    def __init__(
        self, questions: Sequence[Question], params: SelectionParams, tokenizer: Any, batch_rows: int, threads: int
    ) -> None:
        from misstep.verification.extract import AnswerFormat
        from misstep.verification.verifier import Verifier

        self.questions = questions
        self._params = params
        self._tokenizer = tokenizer
        self._batch_rows = batch_rows
        self._verifier = Verifier(AnswerFormat(params.answer_format), workers=threads)

    def correct(self, model: PreTrainedModel, engine: Any = None) -> int:
        """Count the correct answers of a model. Its mode and every generator of random numbers are left as they were.

        An answer that the token limit cut off is never correct. Ranks call this together: each asks its share of the
        problems, and all return the same sum. ``engine`` is DeepSpeed's, where the weights are spread.
        """
        from misstep.generation.engine import Request
        from misstep.generation.seeds import sample_seed
        from misstep.generation.transformers_engine import TransformersEngine

        ranks = world()
        with _same_random_state(), _same_mode(model), _without_wrappers(model), whole_weights(model, engine):
            engine = TransformersEngine(model, self._tokenizer, self._params.decoding, batch_rows=self._batch_rows)
            for index in range(ranks.rank, len(self.questions), ranks.processes):
                question = self.questions[index]
                seed = sample_seed(self._params.seed, "validation", question.problem_id, 0)
                engine.submit(Request(index, question.prompt_ids, (seed,)))
            finished = {}
            for request, (completion,) in engine.results():
                beat("training")
                if completion.finish_reason == "stop":
                    finished[request.request_id] = completion.text
            engine.close()
        answers = ((text, self.questions[index].gold) for index, text in sorted(finished.items()))
        return total(sum(judgement.verdict == "correct" for judgement in self._verifier.judge(answers)))[0]

    def close(self) -> None:
        self._verifier.close()


@contextmanager
def _same_mode(model: PreTrainedModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _without_wrappers(model: PreTrainedModel) -> Iterator[None]:
    """Take off what training puts on the instances' ``forward`` (autocast, TRL's fused head, bands of rows)."""
    wrapped = {module: vars(module).pop("forward") for module in (model, model.base_model) if "forward" in vars(module)}
    try:
        yield
    finally:
        for module, forward in wrapped.items():
            module.forward = forward


@contextmanager
def _same_random_state() -> Iterator[None]:
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
