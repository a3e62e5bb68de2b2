"""``spec.problems``: where problems with checked final answers come from."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from pydantic import Field, model_validator

from misstep.spec.fields import CopyDigest, CopyUri, Count, Name, Percent, SpecModel, refuse_half_copy
from misstep.terms.formats import GENERATED, Format

_FILES = (".jsonl", ".json", ".parquet")
"""File name suffixes of a split's file."""


ColumnPath = Annotated[str, Field(min_length=1, max_length=200)]
Mark = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
BEFORE_NEEDS_AFTER = "answerBefore needs answerAfter: say where the answer begins too"
ONE_COLUMN = {
    "gsm8k": "gsm8k takes solution and answer from one column: set columns.answer, or use format table",
    "math": "math takes the answer from the box of the solution: set columns.solution, or use format table",
}
_GENERATED = "problems of this format are generated"
NO_ORIGIN = f"{_GENERATED}: remove path, hub and uri"
SAY_LIMIT = f"{_GENERATED}: say how many with limit"
NO_COLUMNS = f"{_GENERATED}: remove columns"


class Columns(SpecModel):
    """Which columns hold what. A dotted path leads into a column: `reward_model.ground_truth`, `answers.0`; a column
    with exactly that name takes precedence."""

    question: ColumnPath | None = None
    """Column with the problem's text, or with chat messages: the user turn is used, system turns are ignored. By
    default `question`, for `math` `problem`."""
    question_after: Mark | None = None
    """Text in the question column before the problem, such as the last words of an instruction that every row repeats.
    Everything up to and including its first occurrence is removed."""
    question_before: Mark | None = None
    """Text in the question column after the problem. Everything from its last occurrence on is removed."""
    answer: ColumnPath | None = None
    """Column with the final answer that responses are checked against. If the text has a line `#### 4` or a
    `\\boxed{4}`, that value is used. By default `answer`."""
    answer_after: Mark | None = None
    """For `table`: text in the answer column before the final answer, such as `The answer is:`, in capitals or not.
    What follows its last occurrence, up to the end of the line, is the answer; a row without it has none."""
    answer_before: Mark | None = None
    """With `answerAfter`: text after the final answer, such as `</answer>`, instead of the end of the line."""
    solution: ColumnPath | None = None
    """Column with the teacher's step-by-step solution, or with chat messages, of which the assistant turn is used.
    Without this column there is nothing to fine-tune on. For `math` by default `solution`."""
    id: ColumnPath | None = None
    """Column with a stable id; by default ids are derived from the question's text."""

    @model_validator(mode="after")
    def _marks_fit(self) -> Columns:
        if self.answer_before is not None and self.answer_after is None:
            raise ValueError(BEFORE_NEEDS_AFTER)
        return self


class Source(SpecModel):
    """One source of problems. Give `path` for local data, `hub` with `revision` for the Hugging Face Hub, or `uri` with
    `digest` for an uploaded copy; `misstep run --data NAME=DIR` replaces any of them by a local folder."""

    format: Format
    """`gsm8k` and `math` read files in the official form; `table` reads any JSONL or Parquet file with named columns;
    `strides` generates the quickstart's task, `long-strides` longer problems of that kind, and `words` word problems in
    English. docs/datasets.md has the fields for common data sets."""
    name: Name | None = None
    """What `--data NAME=DIR` calls this source; the format by default."""
    path: str | None = None
    """A file, or a folder that holds `<split>.jsonl`, `<split>.parquet` or (MATH) `<split>/<subject>/*.json`.
    Relative to the YAML file."""
    hub: str | None = None
    """Data set on the Hugging Face Hub, `organisation/name`."""
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """Commit of the Hub's data set: a pinned revision is what makes results repeatable."""
    config: str | None = None
    """Configuration of the Hub's data set, for example `main`."""
    uri: CopyUri | None = None
    """Uploaded copy of the split (its file, or MATH's folder), with `digest`; `misstep upload` writes both."""
    digest: CopyDigest | None = None
    """Digest of the uploaded copy. It enters keys, so that keys are the same as for the same local data."""
    split: str | None = None
    """Split to read; by default the role (`train`, `test` or `validation`)."""
    columns: Columns = Columns()
    """Which columns hold what, where they differ from the names of the format."""
    limit: Count | None = None
    """Read only this many rows from the start. For generated problems it is required: their number."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """For generated problems (`strides`, `words`): the seed."""

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        if self.format in GENERATED:
            if self.path or self.hub or self.uri:
                raise ValueError(NO_ORIGIN)
            if self.limit is None:
                raise ValueError(SAY_LIMIT)
            if self.columns != Columns():
                raise ValueError(NO_COLUMNS)
        elif [bool(self.path), bool(self.hub), bool(self.uri)].count(True) > 1:
            raise ValueError("give only one of path, hub and uri")
        elif self.hub and not self.revision:
            raise ValueError(
                "a data set on the Hub needs revision, its commit of 40 hex digits: "
                f"git ls-remote https://huggingface.co/datasets/{self.hub} HEAD prints it"
            )
        refuse_half_copy(self.uri, self.digest)
        foreign = {"gsm8k": ("solution", "answer_after"), "math": ("answer", "answer_after")}.get(self.format, ())
        if any(getattr(self.columns, name) is not None for name in foreign):
            raise ValueError(ONE_COLUMN[self.format])
        return self

    @property
    def label(self) -> str:
        """The name by which the command line replaces this source."""
        return self.name or self.format


APART = "give separate test problems, or a limit: the test then has only its first problems, training the others"
"""The fix if all training problems would be test problems."""


TEST_SIZE = f"{_GENERATED}: say how many to test on, as in test: {{format: strides, limit: 200}}"


def _place(source: Source, role: str) -> tuple[str | None, ...] | None:
    """What a source reads; None if it is generated, or if the command line must name it."""
    if source.digest is not None:
        return (source.digest,)
    if source.path is not None and PurePath(source.path).suffix in _FILES:
        return (source.path,)
    if source.path is None and source.hub is None:
        return None
    return (source.path, source.hub, source.revision, source.config, source.split or role)


class Problems(SpecModel):
    """Problems to learn from and to be tested on."""

    train: Source
    """Training problems with teacher solutions."""
    test: Source | None = None
    """Held-out problems for the report; by default the test split of `train`'s source, which then must not be a single
    file. A problem in both is used for the test only."""
    validation: Source | None = None
    """Held-out problems that choose checkpoints; by default `holdOut` problems are taken from `train`."""
    hold_out: int = Field(default=200, ge=0, le=100_000)
    """How many training problems to hold out for validation if `validation` is not given."""
    sizes: list[Count] = Field(min_length=1, max_length=32)
    """Numbers of training problems D to sweep, for example powers of two. D problems are a prefix of 2D."""
    overlap_ngram: int = Field(default=13, ge=3, le=100)
    """A training problem that shares this many consecutive words with a test problem is left out of training, and
    counted in the report."""
    bad_gold_percent: Percent = 1
    """Problems without a final answer that responses can be checked against (none, `proof`, a sentence, what the
    verifier cannot read) are dropped and counted, and so are rows without a question; if either share is above this,
    the experiment stops."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Problems:
        if sorted(set(self.sizes)) != list(self.sizes):
            raise ValueError("sizes must be in rising order, each once")
        if self.train.uri is not None and self.test is None:
            raise ValueError("train.uri is a copy of the training problems only: give test too, as misstep upload does")
        if self.test is None and self.train.path is not None and PurePath(self.train.path).suffix in _FILES:
            raise ValueError(
                f"train.path is one file and test is not given, so its problems would be the test problems too: {APART}"
            )
        if self.test is None and self.train.format in GENERATED:
            raise ValueError(TEST_SIZE)
        train, test = self.train, self.test_source()
        if test.limit is None and _place(train, "train") == _place(test, "test") is not None:
            raise ValueError(f"train and test are the same problems: {APART}")
        return self

    def test_source(self) -> Source:
        """The test source, spelled out."""
        if self.test is not None:
            return self.test
        return self.train.model_copy(update={"split": None, "limit": None})
