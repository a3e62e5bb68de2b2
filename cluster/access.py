"""Access to the API server: tokens of users, their kubeconfig files, and a small client for readiness."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NODE = "node"
"""Name of the one node."""
GROUPS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
    f"system:node:{NODE}": "system:nodes",
}
"""Group of each user, except users that Kubernetes knows by name."""


@dataclass(frozen=True)
class Access:
    """Tokens and keys of one cluster, in a folder that only its owner reads.

    Args:
        folder: holds ``tokens.csv``, the key pair of service accounts, the server's certificate and kubeconfigs.
        server: URL of the API server.
        tokens: token of each user.
    """

    folder: Path
    server: str
    tokens: dict[str, str]

    @property
    def tokens_file(self) -> Path:
        return self.folder / "tokens.csv"

    @property
    def account_key(self) -> Path:
        return self.folder / "service-accounts.key"

    @property
    def account_public_key(self) -> Path:
        return self.folder / "service-accounts.pub"

    @property
    def certificate(self) -> Path:
        """The API server writes it on startup, with the authority that signed it."""
        return self.folder / "apiserver.crt"

    def kubeconfig(self, user: str) -> Path:
        """Write the kubeconfig file of a user and return its path; the API server must have started."""
        authority = base64.b64encode(self.certificate.read_bytes()).decode()
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "misstep", "cluster": {"server": self.server, "certificate-authority-data": authority}}
            ],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "misstep", "context": {"cluster": "misstep", "user": user}}],
            "current-context": "misstep",
        }
        path = self.folder / f"{user.rpartition(':')[2]}.kubeconfig"
        path.write_text(json.dumps(content, indent=1))
        return path

    def get(self, path: str) -> Any:
        """Return the API server's answer to the admin: decoded JSON, or other text unchanged; None while it refuses."""
        if not self.certificate.exists():
            return None
        headers = {"Authorization": f"Bearer {self.tokens['admin']}"}
        request = urllib.request.Request(self.server + path, headers=headers)  # noqa: S310 - always https
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.certificate)))
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({}), trust).open(request, timeout=5) as answer:
                text = answer.read().decode()
        except (OSError, urllib.error.HTTPError):
            return None
        return json.loads(text) if text.startswith("{") else text


def new_access(folder: Path, server: str) -> Access:
    """Make tokens and the key pair of service accounts in a new folder."""
    folder.mkdir(mode=0o700, parents=True)
    access = Access(folder, server, {user: secrets.token_urlsafe(24) for user in GROUPS})
    lines = [f'{access.tokens[user]},{user},{user},"{group}"\n' for user, group in GROUPS.items()]
    access.tokens_file.write_text("".join(lines))
    key, public = access.account_key, access.account_public_key
    make = ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", str(key)]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(["openssl", "ec", "-in", str(key), "-pubout", "-out", str(public)], check=True, capture_output=True)
    return access
