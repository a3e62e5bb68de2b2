"""The description of a store: an Experiment and each of its stages have these fields."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Storage(BaseModel):
    """Where artifacts live. Credentials come from the environment (or a Secret), never from here."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    uri: str
    """`file://FOLDER` (a relative folder is relative to the current directory) or `s3://BUCKET/PREFIX`."""
    endpoint: str | None = None
    """Address of an S3-compatible server; AWS by default."""
    region: str | None = None
    """S3 region; from the environment by default."""
    path_style: bool = False
    """Address buckets by path, which most S3-compatible servers need."""
    ca_bundle: str | None = None
    """File with certificates to trust for `endpoint`."""
