"""A server that behaves like the Hugging Face Hub, for the real client over real sockets.

Its repositories: ``org/tiny`` (open: safetensors, and the same weights pickled and in other formats), ``org/pickled``
(weights only pickled), ``org/gated`` (to ``GOOD`` alone), ``org/private`` (the same, but hidden from
others), ``org/narrow`` (403 to every token) and ``org/busy`` (503).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "a" * 40
GOOD, OTHER, WRONG = "hf_goodtoken0042secret", "hf_othertoken0042secret", "hf_wrongtoken0042secret"
COMMON = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}", "README.md": b"# tiny"}
WEIGHTS = b"12345"
FILES = {
    "org/tiny": {
        **COMMON,
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin": b"a pickle",
        "consolidated.safetensors": b"the same once more",
        "onnx/model.safetensors": b"another format",
        "tf_model.h5": b"another format",
    },
    "org/pickled": {**COMMON, "pytorch_model.bin": WEIGHTS},
}
for _name in ("org/gated", "org/private", "org/narrow", "org/busy"):
    FILES[_name] = FILES["org/tiny"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_GET  # noqa: N815 (the name is the base class's)

    def log_message(self, *_: object) -> None: ...

    def _answer(self) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if api else parts[:2])
        asked = parts[4:] if api else parts[2:]
        self.server.asked.append("/".join([name, *asked]))  # type: ignore[attr-defined]
        if self._refused(name):
            return
        files = FILES[name]
        if asked[1] != COMMIT:
            self._send(404, headers={"X-Error-Code": "RevisionNotFound"})
        elif asked[0] == "tree":
            self._send(200, json.dumps([_described(path, data) for path, data in files.items()]).encode())
        elif "/".join(asked[2:]) in files:
            data = files["/".join(asked[2:])]
            self._send(200, data, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT})
        else:
            self._send(404, headers={"X-Error-Code": "EntryNotFound"})

    def _refused(self, name: str) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        code: tuple[int, dict[str, str]] | None = None
        if token not in (None, GOOD, OTHER):
            code = 401, {"X-Error-Message": "Invalid credentials in Authorization header"}
        elif name not in FILES or (name == "org/private" and token != GOOD):
            code = (401 if token is None else 404), {"X-Error-Code": "RepoNotFound"}
        elif name == "org/gated" and token != GOOD:
            code = (401 if token is None else 403), {"X-Error-Code": "GatedRepo"}
        elif name == "org/narrow":
            code = 403, {"X-Error-Message": "Your token does not have the permission to read this"}
        elif name == "org/busy":
            code = 503, {}
        if code is not None:
            self._send(code[0], headers=code[1])
        return code is not None

    def _send(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _described(path: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def hub() -> Iterator[tuple[str, list[str]]]:
    """Run a server; yield its address and the list of what it is asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
