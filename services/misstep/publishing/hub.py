"""Upload a folder to a repository of the Hub, in one commit, over nothing that Misstep did not write."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from misstep.errors import BadInput
from misstep.publishing.folder import LIST_FILE, files_in, identity
from misstep.publishing.refusals import explained

if TYPE_CHECKING:
    from huggingface_hub import HfApi

RepositoryType = Literal["model", "dataset"]
_KEPT = {".gitattributes"}
"""The Hub's own file in every repository."""
_NAMED = 5


@dataclass(frozen=True)
class Target:
    """A repository, as it was when it was looked at."""

    repository: str
    type: RepositoryType
    commit: str | None
    """None: there is no such repository yet."""
    private: bool
    removed: tuple[str, ...] = ()
    """Files there that the upload removes."""
    replaces: str = ""
    """The stage that it holds now; empty if it holds none of Misstep's."""

    @property
    def said(self) -> str:
        """What it is, in words."""
        kind = "data set" if self.type == "dataset" else "model"
        state = "a new" if self.commit is None else "the existing"
        return f"{state} {'private' if self.private else 'PUBLIC'} {kind} repository {self.repository}"


def check_name(repository: str) -> None:
    """Check a name. Raises BadInput."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
        known = repository.count("/") == 1
    except HFValidationError:
        known = False
    if not known:
        raise BadInput("--to", repository, "Write ORG/NAME: your account or organisation, and the repository's name.")


def look(repository: str, type: RepositoryType, folder: Path, *, public: bool, force: bool) -> Target:
    """Look at a repository before anything is sent.

    Args:
        folder: what will be uploaded.
        public: whether a new repository will be public.
        force: replace everything that is there.

    Raises:
        BadInput: no token, no permission, or it holds files that Misstep did not write or that were changed since.
        MisstepError: the Hub does not answer.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError

    if not get_token():
        fix = (
            "No token is given: export HF_TOKEN=... of an account that may write there, or log in with `hf auth login`."
        )
        raise BadInput("--to", repository, fix)
    api = HfApi()
    try:
        info = api.repo_info(repository, repo_type=type, files_metadata=True)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:
            raise explained(error, repository) from error
        return Target(repository, type, None, private=not public)
    except (HTTPError, OSError) as error:
        raise explained(error, repository) from error
    there = {file.rfilename: file for file in info.siblings or () if file.rfilename not in _KEPT}
    listed = _list_of(api, repository, type, info.sha) if LIST_FILE in there else {}
    mine = json.loads((folder / LIST_FILE).read_bytes())
    if there and not force:
        _refuse_others(repository, there, listed, mine)
    ours = listed.get("files", {}) if identity(listed) == identity(mine) else there
    gone = tuple(sorted(name for name in ours if name in there and name not in files_in(folder)))
    return Target(repository, type, info.sha, bool(info.private), gone, str(listed.get("stage", "")))


def upload(target: Target, folder: Path, message: str, note: Callable[[str], None]) -> str:
    """Upload a folder, and return the address of the commit. It is one commit: all of it is there, or nothing.

    Args:
        note: called with what the Hub says of the card.

    Raises:
        BadInput: the Hub refuses it, or the repository has changed since `look`.
        MisstepError: the Hub does not answer.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
    from huggingface_hub.errors import HTTPError

    api, name = HfApi(), target.repository
    added = [CommitOperationAdd(path, str(file)) for path, file in files_in(folder).items()]
    removed = [CommitOperationDelete(path) for path in target.removed]
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            if target.commit is None:  # no repository is made for a card that the Hub refuses
                RepoCard.load(folder / "README.md").validate(repo_type=target.type)
                api.create_repo(name, repo_type=target.type, private=target.private)
            commit = api.create_commit(
                name, [*removed, *added], commit_message=message, repo_type=target.type, parent_commit=target.commit
            )
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise explained(error, name) from error
    for warning in said:
        if issubclass(warning.category, UserWarning):
            note(f"the Hub says: {' '.join(str(warning.message).split())}")
    return str(commit.commit_url)


def _list_of(api: HfApi, repository: str, type: RepositoryType, commit: str | None) -> dict[str, Any]:
    from huggingface_hub.errors import HTTPError

    with tempfile.TemporaryDirectory(prefix="misstep-push-") as scratch:
        try:
            path = api.hf_hub_download(repository, LIST_FILE, repo_type=type, revision=commit, local_dir=scratch)
            listed = json.loads(Path(path).read_bytes())
        except ValueError:
            return {}
        except (HTTPError, OSError) as error:
            raise explained(error, repository) from error
    return listed if isinstance(listed, dict) and isinstance(listed.get("files"), dict) else {}


def _refuse_others(repository: str, there: dict[str, Any], listed: dict[str, Any], mine: dict[str, Any]) -> None:
    force = "Name another repository, or give --force to replace everything in it (its history stays)."
    if not listed:
        raise BadInput(
            "--to", repository, f"It holds files that Misstep did not write: {_some(sorted(there))}. {force}"
        )
    if identity(listed) != identity(mine):
        what, experiment, arm, size, seed = identity(listed)
        held = f"{what} of {experiment}, {arm or 'sft'}, {size} problems, seed {seed}"
        raise BadInput("--to", repository, f"It holds something else: {held}. {force}")
    changed = [name for name, known in listed["files"].items() if name in there and not _same(there[name], known)]
    if changed:
        fix = (
            f"These were changed there after Misstep wrote them: {_some(changed)}. Give --force to replace them; "
            "--license sets the licence again."
        )
        raise BadInput("--to", repository, fix)


def _same(file: Any, known: dict[str, Any]) -> bool:
    if file.lfs is not None:
        return bool(file.lfs.sha256 == known.get("sha256"))
    return "git" not in known or bool(file.blob_id == known["git"])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
