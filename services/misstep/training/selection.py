"""Choice of checkpoints by the accuracy of sampled answers.

The best one on validation problems represents the method. The choice uses sampling and not the loss, because the loss
keeps falling while a model becomes over-trained.

The policy, which is sampled, credited and the start of DPO, is a separate choice: an over-trained policy makes few
mistakes on its training problems, and credit from it carries no signal (arXiv 2406.14532, section 6). So each scoring
also samples the model on its own training problems, and the policy is the most accurate checkpoint on validation
problems among those that have not begun to memorise their training problems.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from misstep.distributed.liveness import report_alive
from misstep.distributed.ranks import total, whole_weights, world
from misstep.plan.params import PolicyParams, SelectionParams
from misstep.terms.verdict import Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Score:
    """One scoring: ``correct`` of ``problems`` answers to validation problems, and the same for the model's own
    training problems if a policy is chosen."""

    epoch: int
    step: int
    problems: int
    correct: int
    train_problems: int = 0
    train_correct: int = 0

    @property
    def gap(self) -> Fraction:
        """Accuracy on its own training problems minus that on validation problems; 0 if either was not sampled."""
        if not self.train_problems or not self.problems:
            return Fraction(0)
        return Fraction(self.train_correct, self.train_problems) - Fraction(self.correct, self.problems)


def choose_policy(scores: Sequence[Score], params: PolicyParams) -> Score | None:
    """Return the scoring of the checkpoint that becomes the policy; None if nothing was scored.

    Among the checkpoints whose gap is at most ``max_gap_points`` it is the most accurate one on validation problems; if
    there is none, the one with the smallest gap. Among equals the earliest. If ``epoch`` is set, it is the last one
    scored up to that epoch.
    """
    if params.epoch is not None:
        return max((s for s in scores if s.epoch <= params.epoch), key=lambda s: s.step, default=None)
    most = Fraction(params.max_gap_points, 100)
    within = [s for s in scores if s.gap <= most]
    if within:
        return max(within, key=lambda s: (s.correct, -s.step))
    return min(scores, key=lambda s: (s.gap, s.step), default=None)


def explain_policy(policy: Score, params: PolicyParams) -> tuple[str, bool]:
    """Return which checkpoint is the policy and why, and whether that meets the settings (the named epoch, or within
    the gap)."""
    text = f"the policy is the checkpoint of epoch {policy.epoch}"
    if policy.problems:
        text += f", right on {policy.correct / policy.problems:.0%} of {policy.problems} validation problems"
    if policy.train_problems:
        text += f" and on {policy.train_correct / policy.train_problems:.0%} of {policy.train_problems} of its own"
    if params.epoch is not None:
        return f"{text}: the epoch that spec.training.sft.policy.epoch names", True
    if policy.gap <= Fraction(params.max_gap_points, 100):
        return (
            f"{text}: of the checkpoints whose accuracies differ by {params.max_gap_points} points at most "
            "(spec.training.sft.policy.maxGapPoints), the best on validation problems",
            True,
        )
    return (
        f"{text}: no checkpoint that was scored has accuracies within {params.max_gap_points} points of each other "
        "(spec.training.sft.policy.maxGapPoints), and this one has the smallest difference; score earlier epochs "
        "(spec.training.sft.selection.epochs)",
        False,
    )


class Selection:
    """The scorings so far: which is best, which is the policy, and whether to continue."""

    def __init__(self, patience: int | None, policy: PolicyParams | None = None, scores: Sequence[Score] = ()) -> None:
        self._patience = patience
        self._policy = policy
        self.scores = list(scores)

    @property
    def best(self) -> Score | None:
        """The earliest of the scorings with the most correct answers."""
        return max(self.scores, key=lambda score: (score.correct, -score.step), default=None)

    @property
    def policy(self) -> Score | None:
        """The scoring of the checkpoint that is the policy so far."""
        return None if self._policy is None else choose_policy(self.scores, self._policy)

    @property
    def exhausted(self) -> bool:
        """Whether none of the last ``patience`` scorings was better than the best before them. Never before the
        policy's epoch, if one is named."""
        if self._patience is None or self.best is None:
            return False
        if self._policy is not None and self._policy.epoch is not None and self.scores[-1].epoch < self._policy.epoch:
            return False
        return len(self.scores) - 1 - self.scores.index(self.best) >= self._patience

    def add(self, score: Score) -> None:
        """Add a scoring."""
        self.scores.append(score)

    def as_json(self) -> list[dict[str, int]]:
        return [asdict(score) for score in self.scores]


@dataclass(frozen=True, slots=True)
class Question:
    """A problem with its prompt."""

    problem_id: str
    prompt_ids: Sequence[int]
    gold: str


class Scorer:
    """Samples one answer to each problem and counts the correct ones.

    Args:
        questions: validation problems.
        own: training problems, sampled for the choice of a policy.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        params: SelectionParams,
        tokenizer: Any,
        batch_rows: int,
        threads: int,
        own: Sequence[Question] = (),
    ) -> None:
        from misstep.verification.extract import AnswerFormat
        from misstep.verification.verifier import Verifier

        self._questions, self._own = questions, own
        self._params = params
        self._tokenizer = tokenizer
        self._batch_rows = batch_rows
        self._verifier = Verifier(AnswerFormat(params.answer_format), workers=threads)

    def score(self, model: PreTrainedModel, epoch: int, step: int, engine: Any = None) -> Score:
        """Score a model. Its mode and the states of all random number generators stay unchanged.

        An answer that the token limit cut off is never correct. Ranks call this together: each samples its share of the
        problems, and all return the same sums. ``engine`` is DeepSpeed's, if the weights are sharded.
        """
        correct, train_correct = self._count_correct(model, engine)
        return Score(epoch, step, len(self._questions), correct, len(self._own), train_correct)

    def _count_correct(self, model: PreTrainedModel, engine: Any) -> tuple[int, int]:
        from misstep.generation.engine import Request
        from misstep.generation.seeds import sample_seed
        from misstep.generation.transformers_engine import TransformersEngine, evaluating

        ranks = world()
        asked = [("validation", q) for q in self._questions] + [("train", q) for q in self._own]
        with _same_random_state(), evaluating(model), _without_wrappers(model), whole_weights(model, engine):
            engine = TransformersEngine(model, self._tokenizer, self._params.decoding, batch_rows=self._batch_rows)
            for index in range(ranks.rank, len(asked), ranks.processes):
                split, question = asked[index]
                seed = sample_seed(self._params.seed, split, question.problem_id, 0)
                engine.submit(Request(index, question.prompt_ids, (seed,)))
            finished = {}
            for request, (completion,) in engine.results():
                report_alive("training")
                if completion.finish_reason == "stop":
                    finished[request.request_id] = completion.text
            engine.close()
        answers = ((text, asked[index][1].gold) for index, text in sorted(finished.items()))
        counts = {"validation": 0, "train": 0}
        for index, judgement in zip(sorted(finished), self._verifier.judge(answers), strict=True):
            counts[asked[index][0]] += judgement.verdict is Verdict.CORRECT
        correct, train_correct = total(counts["validation"], counts["train"])
        return correct, train_correct

    def close(self) -> None:
        self._verifier.close()


@contextmanager
def _without_wrappers(model: PreTrainedModel) -> Iterator[None]:
    """Remove the wrappers that training puts on the instances' ``forward`` (autocast, TRL's fused head, bands of
    rows)."""
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
