"""The validation problems that a search uses instead of test problems, separate from those that choose checkpoints.

No stage of a search has the test problems among its inputs. In a file that holds them and others, they are skipped.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from misstep.errors import BadInput
from misstep.plan.frozen import External
from misstep.plan.params import ProblemsParams, SourceParams
from misstep.spec.experiment import Experiment, ExperimentSpec
from misstep.spec.training import over
from misstep.terms.formats import GENERATED

_SPARE = 0.2
"""The share of rows that is read beyond those needed, since duplicates and rows without an answer are dropped."""


@dataclass(frozen=True)
class Judging:
    """Which problems judge the models of a search. The first validation problems choose checkpoints; the next judge."""

    skip: int
    """Validation problems that choose checkpoints."""
    problems: int
    """Validation problems that judge."""
    test_rows: Mapping[str, int]
    """Split -> how many of the first rows of its source are test problems."""

    @property
    def needed(self) -> int:
        """Validation problems that the search needs."""
        return self.skip + self.problems

    def problems_params(self, given: ProblemsParams) -> ProblemsParams:
        """Return the parameters of the search's problems stage: no test problems, and as many validation problems as
        the search needs. They include those of the experiment."""
        validation = given.validation
        changed = {
            "train": self._behind_test("train", given.train),
            "test": None,
            "validation": None if validation is None else self._long_enough(validation),
            "held_out": 0 if validation is not None else max(given.held_out, self.needed),
            "validation_needed": self.needed,
        }
        return given.model_copy(update=changed)

    def _behind_test(self, split: str, source: SourceParams) -> SourceParams:
        return source.model_copy(update={"skip": self.test_rows.get(split, 0)})

    def _long_enough(self, validation: SourceParams) -> SourceParams:
        found = self._behind_test("validation", validation)
        if found.limit is None:
            return found
        spare = 0 if found.format in GENERATED else int(self.needed * _SPARE)
        return found.model_copy(update={"limit": max(found.limit, found.skip + self.needed + spare)})


def judging(experiment: Experiment, externals: Mapping[str, External]) -> Judging:
    """Return which problems judge the search of an experiment.

    Args:
        externals: what `misstep.sources.resolve` returned; the digests tell which sources are one file.

    Raises:
        BadInput: the experiment has no search, or a source has only test problems.
    """
    spec = experiment.spec
    if spec.search is None:
        raise BadInput("spec.search", "not given", "Say what to search.")
    test, rows = externals.get("source_test"), {}
    for split in ("train", "validation"):
        source = externals.get(f"source_{split}")
        if source is not None and test is not None and source.digest == test.digest:
            limit = spec.problems.test_source().limit
            if limit is None:
                raise BadInput(
                    f"spec.problems.{split}",
                    source.uri,
                    "These are the test problems, which a search must not see: give others, or a limit for the test.",
                )
            rows[split] = limit
    found = Judging(_choosing(spec), spec.search.problems, rows)
    _refuse_small(spec, found)
    return found


def _refuse_small(spec: ExperimentSpec, found: Judging) -> None:
    """Refuse a limit that leaves too few problems for training, if validation problems are held out of them."""
    limit = spec.problems.train.limit
    if spec.problems.validation is not None or limit is None:
        return
    left = limit - found.test_rows.get("train", 0) - max(spec.problems.hold_out, found.needed)
    needed = 1 if spec.teacher.writes else max(spec.search_sizes)
    if left < needed:
        raise BadInput(
            "spec.problems.train.limit",
            f"{limit:,}",
            f"The search holds {found.needed:,} problems out: {found.skip:,} that choose checkpoints "
            f"(spec.training.*.selection.problems) and spec.search.problems, {found.problems:,}. That leaves "
            f"{max(0, left):,} to train on, of {needed:,} needed: raise the limit or lower spec.search.problems.",
        )


def _choosing(spec: ExperimentSpec) -> int:
    """The most validation problems that choose checkpoints."""
    counts = [0]
    for arm in spec.arms:
        common, own = getattr(spec.training, arm.method), getattr(arm, arm.method)
        selection = (common if own is None else over(common, own)).selection
        counts.append(0 if selection is None else selection.problems)
    return max(counts)
