"""What finished stages have written: tables, models and files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput
from misstep.plan.extras import need
from misstep.text import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from misstep.artifacts.export import Format
    from misstep.artifacts.manifest import Manifest
    from misstep.artifacts.reader import Reader
    from misstep.plan.frozen import FrozenStage
    from misstep.plan.planner import Plan
    from misstep.store.base import Store

_WHAT = "misstep.Experiment.artifacts"


class Artifact:
    """What one finished stage has written. Every file is checked against its hash when it is first read.

    Attributes:
        stage: the stage's name in this experiment.
        kind: its kind: ``problems``, ``sample``, ``credit``, ...
        key: where it is in the store.
    """

    def __init__(self, stage: FrozenStage, manifest: Manifest, store: Store) -> None:
        self.stage, self.kind, self.key = stage.name, stage.kind.value, stage.key
        self._manifest, self._store = manifest, store

    def __repr__(self) -> str:
        tables = ", ".join(f"{rows:,} {name}" for name, rows in self.tables.items())
        return f"<{self.kind} artifact of {self.stage}: {tables or f'{len(self.files)} files'}>"

    @property
    def tables(self) -> dict[str, int]:
        """Table that has rows -> how many. ``docs/artifacts.md`` describes their columns."""
        return self._manifest.tables()

    @property
    def files(self) -> list[str]:
        """The paths of its files, such as ``model/config.json``."""
        return sorted(self._manifest.files())

    @property
    def summary(self) -> dict[str, Any]:
        """What the stage has counted."""
        return dict(self._manifest.summary)

    @property
    def params(self) -> dict[str, Any]:
        """The stage's parameters."""
        return dict(self._manifest.params)

    def table(self, name: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table into memory, as Arrow.

        Args:
            name: may be left out where there is one table with rows.
            columns: only these, in this order.

        Raises:
            BadInput: there is no such table.
            NotInstalled: pyarrow is missing.
            Damaged: the store does not have what was written.
        """
        return self._reader().table(self.key, self._named(name), _listed(columns))

    def frame(self, name: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read a table into memory, as pandas. Lists become arrays of numpy; whole numbers stay whole where some are
        missing. Raises as `table` does."""
        need(_WHAT, "python")
        import pandas as pd
        import pyarrow as pa

        whole = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}
        return self.table(name, columns).to_pandas(types_mapper=whole.get)

    def batches(self, name: str | None = None, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Read a table in batches of 1,024 rows at most, for tables that memory cannot hold. Raises as `table` does."""
        return self._reader().batches(self.key, self._named(name), _listed(columns))

    def file(self, path: str) -> Path:
        """Return a copy of one of its files on this machine. Do not write to it.

        Raises:
            BadInput: there is no such file.
        """
        if path not in self.files:
            raise BadInput("file", path, did_you_mean(path, self.files, f"{self.stage} has {len(self.files)} files."))
        return self._reader().file(self.key, path)

    def model(self) -> Path:
        """Return a folder with its model, for ``transformers``. Do not write to it; it is there until Python ends.

        `export` writes one that stays.

        Raises:
            BadInput: it has no model.
        """
        if not self._manifest.files("model/"):
            raise BadInput("artifact", self.stage, "It holds no model: those of kind sft, rft and dpo do.")
        return self._reader().folder(self.key, "model/")

    def export(self, out: str | PathLike[str], format: Format = "jsonl", table: str | None = None) -> Path:
        """Write it for other programs, as ``misstep artifacts export`` does.

        Args:
            out: a file or a folder that does not exist yet.
            format: ``jsonl`` or ``csv`` (one table), ``hf`` (a folder for ``datasets``), ``model`` (its folder) or
                ``files`` (all of them).
            table: which one, where there are several.

        Raises:
            BadInput: ``out`` exists, or there is no such table or format.
        """
        from misstep.artifacts.export import export

        need(_WHAT, "records")
        export(self._store, self.key, table, format, Path(out))
        return Path(out)

    def _named(self, name: str | None) -> str:
        from misstep.artifacts.records import TABLES

        tables = self.tables
        if name is None and len(tables) == 1:
            return next(iter(tables))
        known = list(TABLES[self.kind])
        if name not in known:
            said = "not named" if name is None else name
            raise BadInput("table", said, f"{self.stage} has {', '.join(tables or known) or 'no tables'}: name one.")
        return name

    def _reader(self) -> Reader:
        need(_WHAT, "records")
        from misstep.artifacts.reader import Reader

        return Reader(self._store, _folder() / self.key)


class Artifacts(Mapping[str, Artifact]):
    """What each finished stage of an experiment has written: stage -> artifact, in the order of the plan."""

    def __init__(self, finished: Sequence[Artifact], names: Sequence[str]) -> None:
        self._finished = {one.stage: one for one in finished}
        self._names = names

    @classmethod
    def of(cls, plan: Plan, store: Store) -> Artifacts:
        """Find what the store has of a plan. Raises Foreign where a result is another stage's, and Damaged."""
        from misstep.artifacts.watch import StoreWatch

        watch = StoreWatch(store)
        watch.refuse_foreign(plan.stages)
        manifests = watch.manifests([stage.key for stage in plan.stages])
        found = [Artifact(stage, manifests[stage.key], store) for stage in plan.stages if stage.key in manifests]
        return cls(found, [stage.name for stage in plan.stages])

    def __getitem__(self, stage: str) -> Artifact:
        """Return what a stage has written. Raises KeyError, which says whether there is such a stage."""
        if stage in self._finished:
            return self._finished[stage]
        unfinished = "It has no result yet: `status()` shows what is missing."
        raise KeyError(
            f"{stage}: {unfinished if stage in self._names else did_you_mean(stage, self._names, 'No such stage.')}"
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._finished)

    def __len__(self) -> int:
        return len(self._finished)

    def __repr__(self) -> str:
        return f"<{len(self)} artifacts of {len(self._names)} stages>"

    def of_kind(self, kind: str) -> list[Artifact]:
        """Return those of one kind of stage, such as ``credit``. Raises BadInput where there is no such kind."""
        from misstep.plan.kinds import StageKind

        kinds = [one.value for one in StageKind]
        if kind not in kinds:
            raise BadInput("kind", kind, did_you_mean(kind, kinds, f"Write one of {', '.join(kinds)}."))
        return [one for one in self.values() if one.kind == kind]


@cache
def _folder() -> Path:
    """Return this process's folder for what is fetched from stores; it is removed when Python ends."""
    folder = tempfile.mkdtemp(prefix="misstep-artifacts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
