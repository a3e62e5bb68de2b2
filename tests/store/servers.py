"""Real stores for tests: a folder, moto in memory, and versitygw on disk where its binary is found."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from misstep.store.description import Storage

ACCESS, SECRET = "testaccess0042", "test-secret-that-no-log-may-show"
BUCKET = "artifacts"


def credentials(patch: pytest.MonkeyPatch, access: str = ACCESS, secret: str = SECRET) -> None:
    """Set the environment's credentials, and shut out any other that the machine may have."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    patch.setenv("AWS_ACCESS_KEY_ID", access)
    patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", os.devnull)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


def versitygw_binary() -> str:
    """Return the server's path, or skip the test with the reason."""
    named = os.environ.get("MISSTEP_VERSITYGW")
    built = Path(__file__).parents[2] / ".cache" / "bin" / "versitygw"
    for candidate in (named, shutil.which("versitygw"), str(built)):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    pytest.skip("no versitygw: `make versitygw` builds it with Go, or MISSTEP_VERSITYGW names it")


@contextmanager
def versitygw(folder: Path, *options: str, port: int = 0) -> Iterator[str]:
    """Run a server over a folder, with what an earlier one has left there, and yield its endpoint."""
    binary = versitygw_binary()
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [binary, "--access", ACCESS, "--secret", SECRET, "--port", f"127.0.0.1:{port}", "--quiet", *options]
    with running([*command, "posix", str(data)], port, folder / "server.log") as endpoint:
        yield endpoint


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Run moto in a process of its own and yield its endpoint.

    In the tests' process its Flask would stay imported, whose proxies break the look through all loaded modules
    with which vLLM starts.
    """
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--port", str(port)]
    with running(command, port, folder / "server.log") as endpoint:
        yield endpoint


@contextmanager
def running(command: list[str], port: int, log_path: Path) -> Iterator[str]:
    """Run a server and yield its address once it listens."""
    with (
        log_path.open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as server,
    ):
        try:
            _await_port(port, server, log_path)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server does not listen: {log.read_text()}")


@contextmanager
def own_server(folder: Path) -> Iterator[str]:
    """Run a versitygw with a bucket over a folder, with credentials for it in the environment; yield its endpoint."""
    with pytest.MonkeyPatch.context() as patch, versitygw(folder) as endpoint:
        credentials(patch)
        make_bucket(endpoint)
        yield endpoint


def make_bucket(endpoint: str, bucket: str = BUCKET) -> None:
    boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    ).create_bucket(Bucket=bucket)


def s3_storage(endpoint: str, prefix: str, bucket: str = BUCKET) -> Storage:
    return Storage(uri=f"s3://{bucket}/{prefix}", endpoint=endpoint, region="us-east-1", path_style=True)
