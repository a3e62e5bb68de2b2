"""Errors of real S3 servers."""

from __future__ import annotations

import http.client
import logging
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore
import pytest

from misstep.errors import EXIT_BAD_INPUT, BadInput, MisstepError
from misstep.store import s3, s3_client, s3_errors
from misstep.store.base import MissingError, UnreachableError
from misstep.store.description import Storage
from misstep.store.open import open_store
from tests.store import servers

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    servers.credentials(monkeypatch)


@contextmanager
def _http(answer: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), answer)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _answers(status: int, body: bytes) -> Any:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET  # noqa: N815 - the base class asks for this name

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Answer


def test_no_such_bucket(moto_endpoint: str, versitygw_endpoint: str) -> None:
    for endpoint in (moto_endpoint, versitygw_endpoint):
        store = open_store(servers.s3_storage(endpoint, "x", bucket="no-such-bucket"))
        for act in (store.check, lambda s=store: s.put("a", b"x"), lambda s=store: s.get("a")):
            with pytest.raises(BadInput, match=r"spec\.storage\.uri: s3://no-such-bucket/x\. There is no such bucket"):
                act()


def test_nobody_listens() -> None:
    storage = servers.s3_storage(f"http://127.0.0.1:{servers.free_port()}", "x")
    with pytest.raises(BadInput, match=r"spec\.storage\.endpoint: http://127"):
        open_store(storage).check()


def test_an_outage_may_end_so_a_stage_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    make = s3_client.make_client
    monkeypatch.setattr(s3, "make_client", lambda storage, **_: make(storage, attempts=1, connect_timeout=1))
    store = open_store(servers.s3_storage(f"http://127.0.0.1:{servers.free_port()}", "x"))
    with pytest.raises(UnreachableError, match=r"spec\.storage\.endpoint: no answer") as caught:
        store.put("a", b"x")
    assert caught.value.exit_code == 1


def test_a_server_that_starts_again_is_waited_for(tmp_path: Path) -> None:
    """By patient callers; others get the error at once."""
    port, up = servers.free_port(), threading.Event()
    with servers.versitygw(tmp_path / "server", port=port) as endpoint:
        servers.make_bucket(endpoint)
    storage = servers.s3_storage(endpoint, "x")
    with pytest.raises(UnreachableError):
        open_store(storage, patient=False).put("a", b"x")

    def come_back() -> None:
        time.sleep(4)
        with servers.versitygw(tmp_path / "server", port=port):
            up.wait(60)

    server = threading.Thread(target=come_back)
    server.start()
    try:
        store = open_store(storage)
        store.put("a", b"x")
        assert store.get("a") == b"x"
    finally:
        up.set()
        server.join()


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_of_the_environment_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://not-asked.invalid")
    endpoint = f"http://127.0.0.1:{servers.free_port()}"
    monkeypatch.setenv(variable, endpoint)
    storage = servers.s3_storage(endpoint, "x").model_copy(update={"endpoint": None})
    with pytest.raises(BadInput, match=rf"^{variable}: {endpoint}\. Is the server up") as caught:
        open_store(storage).check()
    assert f"{variable}: no answer from {endpoint} (" in str(caught.value)
    with _http(_answers(200, b"<html>It works!</html>")) as other:
        monkeypatch.setenv(variable, other)
        with pytest.raises(BadInput, match=rf"^{variable}: {other}\. "):
            open_store(storage).check()
    monkeypatch.setenv(variable, "not a url")
    with pytest.raises(BadInput, match=rf"^{variable}: not a url\. Write https://host:port"):
        open_store(storage).check()


def test_a_host_name_that_does_not_exist() -> None:
    with pytest.raises(BadInput, match=r"spec\.storage\.endpoint"):
        open_store(servers.s3_storage("http://no-such-host.invalid:9000", "x")).check()


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>It works!</html>"), (200, b"plain text"), (404, b"<html>no</html>"), (405, b""), (501, b"no")],
)
def test_something_else_than_s3_answers(status: int, body: bytes) -> None:
    with _http(_answers(status, body)) as endpoint, pytest.raises(BadInput, match=r"spec\.storage\.endpoint"):
        open_store(servers.s3_storage(endpoint, "x")).check()


@pytest.mark.parametrize("endpoint", ["not a url", "127.0.0.1:9000", "http://"])
def test_malformed_endpoints(endpoint: str) -> None:
    with pytest.raises(BadInput, match=r"spec\.storage\.endpoint"):
        open_store(servers.s3_storage(endpoint, "x")).check()


@pytest.mark.parametrize("bucket", ["Upper_Case!", "a"])
def test_malformed_buckets(moto_endpoint: str, bucket: str) -> None:
    with pytest.raises(BadInput, match=r"spec\.storage\.uri"):
        open_store(servers.s3_storage(moto_endpoint, "x", bucket=bucket)).check()


def test_wrong_secret(versitygw_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.credentials(monkeypatch, secret="wrong-secret")
    with pytest.raises(BadInput, match=r"credentials for S3: .*0042.*SignatureDoesNotMatch") as caught:
        open_store(servers.s3_storage(versitygw_endpoint, "x")).check()
    assert "wrong-secret" not in str(caught.value)


def test_unknown_access_key(versitygw_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.credentials(monkeypatch, access="nobody0000")
    with pytest.raises(BadInput, match=r"credentials for S3: access key \.\.\.0000 from env"):
        open_store(servers.s3_storage(versitygw_endpoint, "x")).check()


def test_keys_that_were_right_may_have_been_changed(tmp_path: Path) -> None:
    """The same request is bad input before the server has ever taken a request of the process, and worth another try
    after it, also with another client."""
    port = servers.free_port()
    with servers.versitygw(tmp_path / "server", port=port) as endpoint:
        servers.make_bucket(endpoint)
        storage = servers.s3_storage(endpoint, "x")
        store, other = open_store(storage), open_store(storage)
        store.put("a", b"x")
    with servers.versitygw(tmp_path / "server", "--secret", "changed", port=port):
        for act in (lambda: store.put("b", b"x"), lambda: other.get("a"), lambda: list(store.list(""))):
            with pytest.raises(
                MisstepError, match=r"\.\.\.0042 from env was accepted before and is refused now"
            ) as caught:
                act()
            assert caught.value.exit_code == 1
        with pytest.raises(BadInput, match=r"The server refuses them \(SignatureDoesNotMatch\)"):
            store.check()
        s3_errors._accepted.clear()  # as in another process
        with pytest.raises(BadInput, match=r"The server refuses them \(SignatureDoesNotMatch\)"):
            other.get("a")


def test_rights_that_are_taken_away_may_come_back(tmp_path: Path) -> None:
    """A policy that is being replaced, or a server that is temporarily read-only: 403 with AccessDenied."""
    port = servers.free_port()
    with servers.versitygw(tmp_path / "server", port=port) as endpoint:
        servers.make_bucket(endpoint)
        storage = servers.s3_storage(endpoint, "x")
        store = open_store(storage)
        store.put("a", b"x")
    with servers.versitygw(tmp_path / "server", "--readonly", port=port):
        with pytest.raises(
            MisstepError, match=r"accepted before and is refused now \(PutObject: AccessDenied"
        ) as caught:
            store.put("b", b"x")
        assert caught.value.exit_code == 1
        assert "s3:PutObject" in str(caught.value)
        with pytest.raises(BadInput, match="denied"):
            store.check(write=True)
        s3_errors._accepted.clear()
        with pytest.raises(BadInput, match="denied"):
            store.put("b", b"x")


REFUSALS = [
    (403, "AccessDenied"),
    (403, "AllAccessDisabled"),
    (403, "InvalidAccessKeyId"),
    (403, "SignatureDoesNotMatch"),
    (403, ""),
    (401, "Unauthorized"),
    (401, ""),
    (400, "InvalidToken"),
]


@pytest.mark.parametrize(
    ("status", "code"), [*REFUSALS, (400, "ExpiredToken"), (403, "ExpiredToken"), (400, "RequestExpired")]
)
@pytest.mark.parametrize("before", [False, True], ids=["first", "later"])
def test_refusals_before_and_after_the_first_success(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, before: bool
) -> None:
    """In all ways in which servers, and proxies before them, refuse: what is not bad input is tried again."""
    monkeypatch.setattr(s3_client, "_TRIES_WHILE_AWAY", 1)
    document = f"<Error><Code>{code}</Code><Message>said</Message></Error>".encode() if code else b""
    refusing = _answers(status, document)
    good = not before

    class Server(refusing):  # type: ignore[valid-type,misc]
        def do_PUT(self) -> None:  # noqa: N802 - the base class asks for this name
            nonlocal good
            if good:
                refusing.do_GET(self)
                return
            good = True
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with _http(Server) as endpoint:
        store = open_store(servers.s3_storage(endpoint, "x"))
        if before:
            store.put("a", b"x")
        with pytest.raises(MisstepError) as caught:
            store.put("b", b"x")
    expired = "xpired" in code
    assert isinstance(caught.value, BadInput) == (not before and not expired), caught.value
    assert caught.value.exit_code == (1 if before or expired else EXIT_BAD_INPUT)


@contextmanager
def _without_conditions(endpoint: str) -> Iterator[str]:
    """Stand before a server, and take If-None-Match away: so do servers that do not know it."""
    host = endpoint.removeprefix("http://")

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "if-none-match"}
            connection = http.client.HTTPConnection(host)
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_DELETE = do_POST = do_HEAD = do_GET  # noqa: N815 - the base class asks for these names

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _http(Proxy) as proxy:
        yield proxy


def test_a_server_that_ignores_if_none_match_is_refused_before_work_is_lost(moto_endpoint: str) -> None:
    with _without_conditions(moto_endpoint) as endpoint:
        store = open_store(servers.s3_storage(endpoint, "ignores"))
        store.check()
        with pytest.raises(BadInput, match=r"spec\.storage\.endpoint: .*ignores If-None-Match.*would be lost"):
            store.check(write=True)
        assert list(store.list(".tmp/")) == [], "the probe is taken away"


def test_the_check_leaves_nothing_behind(moto_endpoint: str, versitygw_endpoint: str) -> None:
    for endpoint in (moto_endpoint, versitygw_endpoint):
        store = open_store(servers.s3_storage(endpoint, "checked"))
        store.check(write=True)
        assert list(store.list(".tmp/")) == []


def test_a_user_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iam = tmp_path / "iam"
    iam.mkdir()
    with servers.versitygw(tmp_path / "server", "--iam-dir", str(iam)) as endpoint:
        servers.make_bucket(endpoint)
        admin = [servers.versitygw_binary(), "admin", "--endpoint-url", endpoint]
        admin += ["--access", servers.ACCESS, "--secret", servers.SECRET]
        user = ["create-user", "--access", "guest0007", "--secret", "guest-secret", "--role", "user"]
        subprocess.run([*admin, *user], check=True, capture_output=True)
        servers.credentials(monkeypatch, access="guest0007", secret="guest-secret")
        store = open_store(servers.s3_storage(endpoint, "x"))
        for act in (store.check, lambda: store.put("a", b"x"), lambda: store.get("a"), lambda: list(store.list(""))):
            with pytest.raises(
                BadInput, match=r"spec\.storage\.uri.*denied to access key \.\.\.0007 from env"
            ) as caught:
                act()
            assert "s3:PutObject" in str(caught.value)


def test_a_store_that_may_only_be_read(tmp_path: Path) -> None:
    """Reading passes; the check for a run, which writes, says what is missing."""
    with servers.versitygw(tmp_path / "server") as endpoint:
        servers.make_bucket(endpoint)
        open_store(servers.s3_storage(endpoint, "x")).put("a", b"x")
    with servers.versitygw(tmp_path / "server", "--readonly") as endpoint:
        store = open_store(servers.s3_storage(endpoint, "x"))
        store.check()
        assert store.get("a") == b"x"
        with pytest.raises(BadInput, match=r"spec\.storage\.uri"):
            store.check(write=True)


def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    servers.credentials(monkeypatch)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BadInput, match="Set AWS_ACCESS_KEY_ID"):
        open_store(servers.s3_storage("http://127.0.0.1:1", "x"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half")
    with pytest.raises(BadInput, match="Set AWS_ACCESS_KEY_ID"):
        open_store(servers.s3_storage("http://127.0.0.1:1", "x"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(MisstepError, match="no-such-profile"):
        open_store(servers.s3_storage("http://127.0.0.1:1", "x"))


def test_the_identity_is_logged_once_and_the_secret_never(moto_endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="misstep")
    for _ in range(2):
        open_store(servers.s3_storage(moto_endpoint, "logged")).check(write=True)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("misstep")]
    assert len(lines) == 1
    assert "access key ...0042 from env" in lines[0]
    assert servers.SECRET not in caplog.text
    assert servers.ACCESS not in lines[0]


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, _ = _certificate(tmp_path)
    listed = ["--cert", str(certificate), "--key", str(tmp_path / "key.pem")]
    with servers.versitygw(tmp_path / "server", *listed) as endpoint:
        secure = endpoint.replace("http://", "https://")
        storage = servers.s3_storage(secure, "x")
        with pytest.raises(BadInput, match=r"spec\.storage\.caBundle"):
            open_store(storage).check()
        with pytest.raises(BadInput, match=r"spec\.storage\.caBundle: .*missing\.pem"):
            open_store(storage.model_copy(update={"ca_bundle": str(tmp_path / "missing.pem")})).check()
        with monkeypatch.context() as other:
            others = str(Path(botocore.__file__).with_name("cacert.pem"))
            other.setenv("AWS_CA_BUNDLE", others)
            with pytest.raises(BadInput, match=rf"^AWS_CA_BUNDLE: {others}\. .*not trusted"):
                open_store(storage).check()
        trusted = open_store(storage.model_copy(update={"ca_bundle": str(certificate)}))
        with pytest.raises(BadInput, match="There is no such bucket"):
            trusted.check()


def test_https_where_http_is_spoken(moto_endpoint: str) -> None:
    with pytest.raises(BadInput, match=r"spec\.storage\.endpoint: https://.*uses http at"):
        open_store(servers.s3_storage(moto_endpoint.replace("http", "https"), "x")).check()


@pytest.mark.parametrize(("there", "writes"), [(True, 3), (False, 4)])
def test_conflicts_are_tried_again(moto_endpoint: str, there: bool, writes: int) -> None:
    """409 says that two writes met: the loser tries again and then sees who won. 412 is believed of what is there."""
    lock, seen = threading.Lock(), [0]

    class Conflicting(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                seen[0] += 1
            status = {1: 409, 2: 409, 3: 412}.get(seen[0], 200)
            code = {409: "ConditionalRequestConflict", 412: "PreconditionFailed"}.get(status)
            self.answer(status, f"<Error><Code>{code}</Code><Message>m</Message></Error>" if code else "")

        def do_GET(self) -> None:
            found = "<Contents><Key>x/a</Key><Size>1</Size></Contents>" if there else ""
            self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>")

        def answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _http(Conflicting) as endpoint:
        assert open_store(servers.s3_storage(endpoint, "x")).put("a", b"x", if_absent=True) is not there
    assert seen[0] == writes


def test_a_download_resumes_where_the_connection_broke(tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    asked: list[str | None] = []

    class Breaking(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            span = self.headers.get("Range")
            asked.append(span)
            start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
            self.send_response(206 if span else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start : start + 400_000])
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _http(Breaking) as endpoint:
        store = open_store(servers.s3_storage(endpoint, "x"))
        store.download("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == data
    assert asked == [None, "bytes=400000-", "bytes=800000-"]


def test_a_slow_answer_is_retried_by_the_client() -> None:
    seen = [0]

    class Flaky(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen[0] += 1
            status, body = (503, b"") if seen[0] < 3 else (200, b"content")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _http(Flaky) as endpoint:
        assert open_store(servers.s3_storage(endpoint, "x")).get("a") == b"content"
    assert seen[0] == 3


def test_killed_while_uploading_nothing_shows(versitygw_endpoint: str, tmp_path: Path) -> None:
    """A process is killed in the midst of an upload in parts: the object is whole or absent."""
    storage = servers.s3_storage(versitygw_endpoint, "killed")
    source = tmp_path / "source"
    source.write_bytes(b"x" * (200 << 20))
    code = """if True:
        import sys
        from pathlib import Path
        from misstep.store.open import open_store
        from misstep.store.description import Storage
        store = open_store(Storage.model_validate_json(sys.argv[1]))
        print("ready", flush=True)
        store.put_file("big", Path(sys.argv[2]))
    """
    store = open_store(storage)
    for wait in (0.05, 0.2):
        process = subprocess.Popen(
            [sys.executable, "-c", code, storage.model_dump_json(), str(source)],
            env={**os.environ, "PYTHONPATH": "services"},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.kill()
        process.communicate()
        assert [entry.size for entry in store.list("")] in ([], [200 << 20])
    store.put_file("big", source)
    assert [entry.size for entry in store.list("")] == [200 << 20]


def test_an_absent_object_is_missing_not_wrong(moto_endpoint: str) -> None:
    with pytest.raises(MissingError):
        open_store(Storage(uri="s3://artifacts", endpoint=moto_endpoint, path_style=True)).get("no/such")
