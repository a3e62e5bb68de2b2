"""Models of the Hugging Face Hub: which files are fetched, and what the user can do about each error."""

from __future__ import annotations

import os
from pathlib import Path

from misstep.artifacts.model_cache import FOLDER
from misstep.errors import BadInput, MisstepError
from misstep.store.disk import full_disk_errors

SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
"""Configuration, tokenizer and chat template."""
_WEIGHTS, _PICKLES = "*.safetensors", "pytorch_model*.bin"
IGNORED = ("*/*", "consolidated*")
"""Subfolders hold other formats; ``consolidated`` files contain the same weights again."""
_HOW_TO_GIVE_A_TOKEN = "HF_TOKEN (in the environment; in a cluster by a Secret that spec.secrets names)"  # noqa: S105


def fetch_model(field: str, uri: str) -> Path:
    """Return the local folder of ``hf://org/name@revision``: safetensors, or pickled weights if there are no others.

    It is in the Hub's own cache: ``HF_HOME``, else ``hub`` in ``MISSTEP_CACHE`` if that is set.

    Raises:
        BadInput: there is no such model, or this token may not read it; or the client is offline and the cache lacks
            it.
        MisstepError: the Hub did not answer, or is temporarily unavailable.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError

    repository, _, revision = uri.removeprefix("hf://").partition("@")

    def fetch(weights: str) -> Path:
        patterns = [*SMALL, weights]
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                cache_dir=cache_folder(),
                allow_patterns=patterns,
                ignore_patterns=list(IGNORED),
            )
        )

    try:
        with full_disk_errors("HF_HOME", uri):
            folder = fetch(_WEIGHTS)
            return folder if any(folder.glob(_WEIGHTS)) else fetch(_PICKLES)
    except HFValidationError as error:
        raise BadInput(field, uri, f"It cannot be fetched ({_first_line(error)}). Write org/name.") from error
    except (HTTPError, OSError) as error:  # the client's own errors are one or the other
        raise explained(error, field, uri, repository) from error


def cache_folder() -> Path | None:
    """Return the folder of the Hub's models; None means the client's default."""
    own = os.environ.get(FOLDER)
    chosen = any(os.environ.get(name) for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"))
    return Path(own) / "hub" if own and not chosen else None


def explained(error: Exception, field: str, uri: str, repository: str) -> MisstepError:
    """Return what a user can do about an error of the Hub's client."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The cause of "cannot find it locally" says why the Hub did not help.
    cause = error.__cause__ if isinstance(error.__cause__, OfflineModeIsEnabled | HfHubHTTPError) else error
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    has_token, page = bool(get_token()), f"{constants.ENDPOINT}/{repository}"
    if isinstance(cause, GatedRepoError):
        token = f"use a token of that account as {_HOW_TO_GIVE_A_TOKEN}"
        now = "the token given has no access to it" if has_token else "no token is given"
        return BadInput(
            field, uri, f"The model is gated and {now}: accept its licence at {page} with your account, and {token}."
        )
    if isinstance(cause, RevisionNotFoundError):
        return BadInput(field, uri, f"The model has no such revision: take the commit from {page}/commits/main.")
    if status == 401 and has_token:
        return BadInput(
            field, uri, f"The Hub does not know the token given: make a new one and give it as {_HOW_TO_GIVE_A_TOKEN}."
        )
    if status == 403:
        return BadInput(
            field,
            uri,
            f"The token given may not read it: give it that permission, or give another as {_HOW_TO_GIVE_A_TOKEN}.",
        )
    if isinstance(cause, RepositoryNotFoundError) or status == 401:
        token = "a token that may read it" if has_token else f"a token as {_HOW_TO_GIVE_A_TOKEN}"
        return BadInput(field, uri, f"The Hub has no such model, or it is private: check the name, or give {token}.")
    if isinstance(cause, OfflineModeIsEnabled) or (status is not None and 400 <= status < 500 and status != 429):
        return BadInput(field, uri, f"It could not be fetched ({_first_line(error)}). Give a local folder instead.")
    said = f"the Hub answered {status}" if status else f"the Hub did not answer: {_first_line(error)}"
    return MisstepError(f"{field}: {uri}: {said}. Running again may help; a local folder needs no Hub.")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
