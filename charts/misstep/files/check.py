"""Checks of `helm test`, in the operator's image: `check.py api health URL read STORAGE write STORAGE`, or a part.

Ends with one sentence and exit code 1 at the first thing that does not work.
"""

import json
import os
import ssl
import sys
import time
import urllib.request
from pathlib import Path

from misstep.errors import MisstepError
from misstep.store.description import Storage
from misstep.store.open import open_store

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATIENCE_SECONDS = 90
"""The test may come right after the install."""


def main(todo: list[str]) -> int:
    """Run all checks; returns the exit code."""
    while todo:
        match todo:
            case ["api", *rest]:
                good, problem = "the API server knows Experiments", until_good(api_problem)
            case ["health", url, *rest]:
                good, problem = f"the operator at {url} is alive", until_good(lambda url=url: health_problem(url))
            case [("read" | "write") as how, text, *rest]:
                storage = Storage.model_validate_json(text)
                proven = ", and what is there is not written over" if how == "write" else ""
                good, problem = f"{storage.uri}: {how} works{proven}", store_problem(storage, write=how == "write")
            case _:
                good, rest, problem = "", [], f"unknown: {todo}"
        print(problem or good, flush=True)
        if problem:
            return 1
        todo = rest
    return 0


def until_good(problem_of):
    """Retry while there is time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (problem := problem_of()) and time.monotonic() < end:
        time.sleep(2)
    return problem


def api_problem() -> str:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(f"https://{host}:{port}/apis/misstep.dev/v1alpha1")
    request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text()}")
    try:
        with urllib.request.urlopen(
            request, timeout=10, context=ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
        ) as answer:
            names = {resource["name"] for resource in json.load(answer)["resources"]}
    except OSError as error:
        return (
            f"the API server does not serve misstep.dev/v1alpha1: {error}. Is the CustomResourceDefinition installed?"
        )
    missing = {"experiments", "experiments/status"} - names
    return f"the API server serves misstep.dev/v1alpha1 without {', '.join(sorted(missing))}" if missing else ""


def health_problem(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return ""
    except OSError as error:
        return f"the operator at {url} is not well: {error}. Its log says more."


def store_problem(storage: Storage, write: bool) -> str:
    try:
        open_store(storage).check(write=write)
    except MisstepError as error:
        return f"{storage.uri} cannot be {'written' if write else 'read'}: {error}"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
