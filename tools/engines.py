"""What docker and buildah do in different ways: name, build, measure and push an image."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path


class EngineError(Exception):
    """An engine could not do what it was asked. Its own message is on standard error already."""


class Engine(ABC):
    """A program that builds images."""

    program: str

    @abstractmethod
    def local(self, image: str) -> str:
        """The name of an image in the engine's own storage."""

    @abstractmethod
    def build(self, options: Sequence[str], folder: Path) -> None:
        """Build one image from a folder."""

    @abstractmethod
    def files_size(self, name: str) -> float:
        """Bytes of an image's files."""

    @abstractmethod
    def digest(self, name: str) -> str | None:
        """The digest of an image, which is fetched where it is not here; None where no registry has given it one."""

    @abstractmethod
    def push(self, name: str, target: str) -> str:
        """Push a local image under another name; returns the digest of its manifest in the registry."""

    @abstractmethod
    def packed_size(self, name: str) -> float | None:
        """Bytes of an image's layers as a node fetches them; None where the engine cannot say it."""

    @abstractmethod
    def for_syft(self, name: str, folder: Path) -> str:
        """What syft reads an image from; an empty folder may be used for that."""

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Return what a command prints.

        Raises:
            EngineError: it failed.
        """
        done = subprocess.run([self.program, *arguments], cwd=cwd, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise EngineError(f"{self.program} {arguments[0]} ended with exit code {done.returncode}")
        return done.stdout.strip()

    def has(self, name: str) -> bool:
        """Whether an image is in the engine's own storage."""
        asked = [self.program, "inspect", "--type", "image", name]
        return subprocess.run(asked, check=False, capture_output=True).returncode == 0


class Buildah(Engine):
    """Buildah needs no daemon. Its images are in the storage of the user who built them."""

    program = "buildah"

    def local(self, image: str) -> str:
        return f"localhost/{image}"  # it would look in other registries for a name without a host

    def build(self, options: Sequence[str], folder: Path) -> None:
        self.run("build", "--layers", "--quiet", *options, cwd=folder)

    def files_size(self, name: str) -> float:
        number, unit = json.loads(self.run("images", "--json", name))[0]["size"].split()
        return float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit]

    def digest(self, name: str) -> str | None:
        if not self.has(name):
            self.run("pull", "--quiet", name)
        found = self.run("inspect", "--type", "image", "--format", "{{.FromImageDigest}}", name)
        return None if name.startswith("localhost/") else found

    def push(self, name: str, target: str) -> str:
        with tempfile.NamedTemporaryFile("r", prefix="misstep-digest-") as file:
            plain = ["--tls-verify=false"] if on_this_machine(target) else []  # as docker does
            self.run("push", "--quiet", *plain, "--digestfile", file.name, name, f"docker://{target}")
            return file.read().strip()

    def packed_size(self, name: str) -> float | None:
        with tempfile.TemporaryDirectory(prefix="misstep-image-") as scratch:
            self.run("push", "--quiet", name, f"oci:{scratch}:image")
            blobs = Path(scratch, "blobs")
            (named,) = json.loads(Path(scratch, "index.json").read_text())["manifests"]
            manifest = json.loads((blobs / named["digest"].replace(":", "/")).read_text())
        return float(sum(layer["size"] for layer in manifest["layers"]))

    def for_syft(self, name: str, folder: Path) -> str:
        self.run("push", "--quiet", "--disable-compression", name, f"oci:{folder}:image")
        return f"oci-dir:{folder}"


class Docker(Engine):
    """Docker, with a daemon that answers."""

    program = "docker"

    def local(self, image: str) -> str:
        return image

    def build(self, options: Sequence[str], folder: Path) -> None:
        self.run("build", "--quiet", *options, cwd=folder)

    def files_size(self, name: str) -> float:
        return float(self.run("image", "inspect", "--format", "{{.Size}}", name))

    def digest(self, name: str) -> str | None:
        if not self.has(name):
            self.run("pull", "--quiet", name)
        return self._digest_in(name, name.rpartition(":")[0] or name)

    def push(self, name: str, target: str) -> str:
        self.run("tag", name, target)
        self.run("push", "--quiet", target)
        found = self._digest_in(target, target.rpartition(":")[0])
        if found is None:
            raise EngineError(f"docker knows no digest of {target}, although it has pushed it")
        return found

    def packed_size(self, name: str) -> float | None:
        return None

    def for_syft(self, name: str, folder: Path) -> str:
        return f"docker:{name}"

    def _digest_in(self, name: str, repository: str) -> str | None:
        """The digest that an image has in a repository."""
        digests = json.loads(self.run("image", "inspect", "--format", "{{json .RepoDigests}}", name)) or []
        return next((one.partition("@")[2] for one in digests if one.partition("@")[0].endswith(repository)), None)


def find_engine(program: str | None = None) -> Engine | None:
    """Return the engine that is asked for, or else the first one that works here; None where none does."""
    if program is not None:
        return {"docker": Docker, "buildah": Buildah}[program]()
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "version"], capture_output=True, check=False).returncode == 0:
        return Docker()
    return Buildah() if shutil.which("buildah") else None


def on_this_machine(target: str) -> bool:
    """Whether a registry is on this machine, where it need not speak TLS."""
    host = target.partition("/")[0].rpartition(":")[0]
    return host == "localhost" or host.startswith("127.")
