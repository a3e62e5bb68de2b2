"""Language models that an Experiment names, and extra arguments for their engine."""

from __future__ import annotations

from pydantic import Field, model_validator

from misstep.spec.fields import CopyDigest, CopyUri, Name, SpecModel, refuse_half_copy


class ModelRef(SpecModel):
    """A Hugging Face causal language model with its tokenizer."""

    name: Name = "model"
    """What `--model NAME=DIR` calls it."""
    path: str | None = None
    """Local model folder, relative to the YAML file."""
    hub: str | None = None
    """Model on the Hugging Face Hub, `organisation/name`."""
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """Commit of the Hub's model."""
    uri: CopyUri | None = None
    """Folder of an uploaded copy, with `digest`; `misstep upload` writes both."""
    digest: CopyDigest | None = None
    """Digest of the uploaded copy. It enters keys, so that keys are the same as for the same local folder."""

    @model_validator(mode="after")
    def _one_origin(self) -> ModelRef:
        if [bool(self.path), bool(self.hub), bool(self.uri)].count(True) != 1:
            raise ValueError("give exactly one of path, hub and uri")
        refuse_half_copy(self.uri, self.digest)
        if self.hub and not self.revision:
            raise ValueError(
                "a model on the Hub needs revision, its commit of 40 hex digits: "
                f"git ls-remote https://huggingface.co/{self.hub} HEAD prints it"
            )
        return self


class EngineArgument(SpecModel):
    """One argument of an engine."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    """Its name in vLLM, for example `max_model_len`."""
    value: str = Field(max_length=1000)
    """Its value as JSON (`"4096"`, `"true"`), or as plain text."""
