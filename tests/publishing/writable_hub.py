"""The server that stands in for the Hub, with repositories that can be written: made, filled by commits, and read.

It answers what `huggingface_hub` asks for `create_repo`, `create_commit` (which files go to git or to LFS, the LFS
batch, the upload, the commit), `repo_info` and downloads. It has no Xet storage: HF_HUB_DISABLE_XET must be set.
Only the account ``org`` may be written, by ``GOOD``; ``OTHER`` may read. Cards without valid front matter are refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tests.stages.hub_server import GOOD, OTHER, _Handler, _oid

LARGE = (".safetensors", ".parquet", ".bin")


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs"})
    commits: list[str] = field(default_factory=lambda: ["0" * 40])


@dataclass
class Hub:
    """What the server holds. ``fails`` gives the status of the next requests whose path contains a text."""

    address: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    fails: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, kind: str, name: str, files: dict[str, bytes]) -> Repository:
        """Commit files, as a person does in a browser."""
        repository = self.repositories.setdefault((kind, name), Repository(private=True))
        repository.files.update(files)
        repository.commits.append(hashlib.sha1(str(len(repository.commits)).encode()).hexdigest())
        return repository


class _Writable(_Handler):
    def do_POST(self) -> None:  # noqa: N802 (the name is the base class's)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self._path()
        if self._fails(path):
            return
        if path == "api/validate-yaml":
            self._validate(json.loads(body)["content"])
        elif self._token() != GOOD:
            self._json(401 if self._token() != OTHER else 403, {"error": "You have no write access"})
        elif path == "api/repos/create":
            self._create(json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        else:
            self._write(path, body)

    def do_PUT(self) -> None:  # noqa: N802
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self._hub.stored[self._path().removeprefix("lfs/")] = data
        self._json(200, {})

    def _answer(self) -> None:
        path = self._path()
        if self._fails(path):
            return
        kind, name, rest = self._named(path)
        repository = self._hub.repositories.get((kind, name))
        token = self._token()
        if token not in (None, GOOD, OTHER):
            self._json(401, {"error": "Invalid user token"}, {"X-Error-Message": "Invalid user token"})
        elif repository is None or (repository.private and token != GOOD):
            self._json(404 if token else 401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif path.startswith("api/"):
            self._info(repository, name, rest)
        else:
            self._file(repository, "/".join(rest[2:]))

    def _info(self, repository: Repository, name: str, rest: list[str]) -> None:
        files = [_entry(path, data) for path, data in repository.files.items()]
        if rest[:1] == ["tree"]:
            inside = "".join(f"{unquote(part)}/" for part in rest[2:])
            below = [file for file in files if file["path"].startswith(inside)]
            deeper = {
                file["path"][len(inside) :].partition("/")[0] for file in below if "/" in file["path"][len(inside) :]
            }
            if "recursive=true" not in urlsplit(self.path).query.lower():
                below = [file for file in below if "/" not in file["path"][len(inside) :]]
            folders = [{"type": "directory", "path": f"{inside}{name}", "oid": "0" * 40} for name in sorted(deeper)]
            self._json(200, [*folders, *below])
        elif rest[:1] == ["paths-info"]:
            self._json(200, files)
        else:
            siblings = [{"rfilename": f["path"], "blobId": f["oid"]} | f for f in files]
            sha = repository.commits[-1]
            self._json(200, {"id": name, "sha": sha, "private": repository.private, "siblings": siblings, "tags": []})

    def _file(self, repository: Repository, path: str) -> None:
        data = repository.files.get(unquote(path))
        if data is None:
            self._json(404, {}, {"X-Error-Code": "EntryNotFound"})
            return
        self._send(200, data, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": repository.commits[-1]})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        kind = asked.get("type") or "model"
        if asked["organization"] != "org":
            self._json(403, {"error": "You may not create repositories there"})
        elif (kind, name) in self._hub.repositories:
            self._json(409, {"error": "You already created this repo"})
        else:
            self._hub.repositories[kind, name] = Repository(private=asked.get("visibility") == "private")
            self._json(200, {"url": f"{self._hub.address}/{name}"})

    def _validate(self, content: str) -> None:
        try:
            data = yaml.safe_load(content.split("---")[1])
            errors = [] if isinstance(data, dict) else ["no metadata"]
            if errors == [] and data.get("license", "mit") not in ("mit", "apache-2.0", "other"):
                errors = ['"license" must be one of the known ones']
        except (yaml.YAMLError, IndexError) as error:
            data, errors = {}, [str(error)]
        warnings = [] if "license" in data else [{"message": "license is missing"}]
        self._json(400 if errors else 200, {"errors": [{"message": text} for text in errors], "warnings": warnings})

    def _batch(self, asked: dict[str, Any]) -> None:
        upload = [
            {"oid": o["oid"], "size": o["size"]}
            | (
                {}
                if o["oid"] in self._hub.stored
                else {"actions": {"upload": {"href": f"{self._hub.address}/lfs/{o['oid']}"}}}
            )
            for o in asked["objects"]
        ]
        self._json(200, {"transfer": "basic", "objects": upload})

    def _write(self, path: str, body: bytes) -> None:
        kind, name, rest = self._named(path)
        repository = self._hub.repositories.get((kind, name))
        if repository is None:
            self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif rest[0] == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(repository.files[file["path"]]) if file["path"] in repository.files else None,
                }
                for file in json.loads(body)["files"]
            ]
            self._json(200, {"files": modes})
        else:
            self._commit(repository, name, [json.loads(line) for line in body.splitlines()])

    def _commit(self, repository: Repository, name: str, lines: list[dict[str, Any]]) -> None:
        parent = lines[0]["value"].get("parentCommit")
        if parent not in (None, repository.commits[-1]):
            self._json(412, {"error": "A commit has happened since"})
            return
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    repository.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    data = self._hub.stored[value["oid"]]
                    assert hashlib.sha256(data).hexdigest() == value["oid"]
                    repository.files[value["path"]] = data
                case "deletedFile":
                    del repository.files[value["path"]]
        repository.commits.append(hashlib.sha1(str(len(repository.commits)).encode()).hexdigest())
        sha = repository.commits[-1]
        self._json(200, {"commitUrl": f"{self._hub.address}/{name}/commit/{sha}", "commitOid": sha})

    def _named(self, path: str) -> tuple[str, str, list[str]]:
        parts = path.removeprefix("api/").split("/")
        kind = "dataset" if parts[0] == "datasets" else "model"
        if parts[0] in ("datasets", "models"):
            parts = parts[1:]
        return kind, "/".join(parts[:2]), parts[2:]

    def _fails(self, path: str) -> bool:
        self._hub.asked.append(f"{self.command} {path}")
        code = next((code for text, code in self._hub.fails.items() if text in f"{self.command} {path}"), None)
        if code is not None:
            self._json(code, {"error": f"scripted {code}"})
        return code is not None

    def _path(self) -> str:
        return urlsplit(self.path).path.strip("/")

    def _token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _json(self, code: int, data: Any, headers: dict[str, str] | None = None) -> None:
        self._send(code, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})

    @property
    def _hub(self) -> Hub:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        return hub


def _entry(path: str, data: bytes) -> dict[str, Any]:
    large = {
        "lfs": {
            "oid": hashlib.sha256(data).hexdigest(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "pointerSize": 130,
        }
    }
    return {"type": "file", "path": path, "size": len(data), "oid": _oid(data)} | (
        large if path.endswith(LARGE) else {}
    )


@contextmanager
def writable_hub() -> Iterator[Hub]:
    """Run a server."""
    server, hub = ThreadingHTTPServer(("127.0.0.1", 0), _Writable), Hub()
    server.hub = hub  # type: ignore[attr-defined]
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
