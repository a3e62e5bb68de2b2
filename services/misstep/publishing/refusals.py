"""What a user can do about an error of the Hub while something is uploaded."""

from __future__ import annotations

from misstep.errors import BadInput, MisstepError

_TOKEN = "HF_TOKEN, or `hf auth login`"  # noqa: S105
_OPTION = "--to"


def explained(error: Exception, repository: str) -> MisstepError:
    """Return an error that says what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    cause = next((e for e in _chain(error) if isinstance(e, HfHubHTTPError | OfflineModeIsEnabled)), error)
    if isinstance(cause, OfflineModeIsEnabled):
        return BadInput(_OPTION, repository, "HF_HUB_OFFLINE is set, so nothing can be sent: unset it.")
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    said = (cause.server_message if isinstance(cause, HfHubHTTPError) else None) or _first_line(cause)
    match status:
        case 401:
            fix = f"The Hub does not know the token given: make a new one that may write, and give it as {_TOKEN}."
        case 403:
            owner = repository.partition("/")[0]
            fix = (
                f"The token given may not write there: give it permission to write to {owner}, or another as {_TOKEN}."
            )
        case 402:
            fix = f"The Hub asks for a payment ({said}): look at the account's storage and plan."
        case 404:
            fix = "There is no such account or organisation, or the token may not see it: check the name."
        case 409 | 412:
            fix = f"It changed while this ran ({said}): look at it, and run the command again."
        case 413:
            fix = f"A file is too large for the Hub ({said})."
        case _ if isinstance(cause, ValueError) or (status is not None and 400 <= status < 500 and status != 429):
            fix = f"The Hub refuses it: {said}."
        case _:
            what = f"the Hub answered {status}" if status else f"the Hub did not take the upload: {said}"
            hint = ""
            if constants.ENDPOINT != "https://huggingface.co":
                hint = f" {constants.ENDPOINT} may lack the Hub's newer storage: try again with HF_HUB_DISABLE_XET=1."
            return MisstepError(f"{_OPTION}: {repository}: {what}. Running again may help.{hint}")
    return BadInput(_OPTION, repository, fix)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _first_line(error: BaseException) -> str:
    """Return an error's first line; of an invalid card all lines, since the first one says only that."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines) if isinstance(error, ValueError) else lines[0].rstrip(".")
