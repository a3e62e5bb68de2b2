"""``spec.problems``: where problems with checked final answers come from."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from pydantic import Field, model_validator

from misstep.spec.fields import CopyDigest, CopyUri, Count, Name, Percent, SpecModel, refuse_half_copy

_FILES = (".jsonl", ".json", ".parquet")
"""How the names of files end that hold one split."""


class Columns(SpecModel):
    """Which columns of a JSONL or Parquet file hold what."""

    question: str = "question"
    """Column with the problem's text."""
    answer: str = "answer"
    """Column with the final answer that responses are checked against."""
    solution: str | None = None
    """Column with the teacher's step-by-step solution; without one there is nothing to fine-tune on."""
    id: str | None = None
    """Column with a stable id; by default ids are made from the question's text."""


class Source(SpecModel):
    """One source of problems. Give `path` for local data, `hub` with `revision` for the Hugging Face Hub, or `uri` with
    `digest` for an uploaded copy; `misstep run --data NAME=DIR` puts a local folder in place of any."""

    format: Literal["gsm8k", "math", "table", "strides"]
    """`gsm8k` and `math` read the official files; `table` reads any JSONL or Parquet file with named columns;
    `strides` generates the quickstart's task."""
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
    """Digest of the uploaded copy. It enters keys, so that they are those of the same local data."""
    split: str | None = None
    """Split to read; by default the role (`train`, `test` or `validation`)."""
    columns: Columns = Columns()
    """For `table`."""
    limit: Count | None = None
    """Keep only the first so many problems. For `strides` this is how many are made, and needed."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """For `strides`: which problems are made."""

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        if self.format == "strides":
            if self.path or self.hub or self.uri:
                raise ValueError("strides problems are generated: remove path, hub and uri")
            if self.limit is None:
                raise ValueError("strides problems are generated: say how many with limit")
        elif [bool(self.path), bool(self.hub), bool(self.uri)].count(True) > 1:
            raise ValueError("give path, hub or uri, only one of them")
        elif self.hub and not self.revision:
            raise ValueError(
                "a data set on the Hub needs revision, its commit of 40 hex digits: "
                f"git ls-remote https://huggingface.co/datasets/{self.hub} HEAD prints it"
            )
        refuse_half_copy(self.uri, self.digest)
        return self

    @property
    def label(self) -> str:
        """The name by which the command line replaces this source."""
        return self.name or self.format


APART = "give test problems of their own, or a limit, to test on its first problems alone and train on the others"
"""The fix where all training problems would be test problems."""


TEST_SIZE = "strides problems are generated: say how many to test on, as in test: {format: strides, limit: 200}"


def _place(source: Source, role: str) -> tuple[str | None, ...] | None:
    """What a source reads; None where it is generated, or the command line is to say."""
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
    """Held-out problems for the report; by default the test split of `train`'s source, which is then no single file.
    A problem that stands in both is a test problem and nothing else."""
    validation: Source | None = None
    """Held-out problems that choose checkpoints; by default `holdOut` problems are set apart from `train`."""
    hold_out: int = Field(default=200, ge=0, le=100_000)
    """How many training problems to set apart for validation where `validation` is not given."""
    sizes: list[Count] = Field(min_length=1, max_length=32)
    """Numbers of training problems D to sweep, for example powers of two. D problems are a prefix of 2D."""
    overlap_ngram: int = Field(default=13, ge=3, le=100)
    """A training problem that shares a run of so many words with a test problem is left out of training, and
    counted in the report."""
    bad_gold_percent: Percent = 1
    """Problems whose final answer the verifier cannot read are dropped and counted; more of them than this stop
    the experiment."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Problems:
        if sorted(set(self.sizes)) != list(self.sizes):
            raise ValueError("sizes must be in rising order, each once")
        if self.train.uri is not None and self.test is None:
            raise ValueError(
                "train.uri is a copy of the training problems alone: give test too, as misstep upload does"
            )
        if self.test is None and self.train.path is not None and PurePath(self.train.path).suffix in _FILES:
            raise ValueError(
                f"train.path is one file and test is not given, so that its problems would be the test too: {APART}"
            )
        if self.test is None and self.train.format == "strides":
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
