"""``misstep.Experiment``: one Experiment file, from its check to its results."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from misstep.api.models import check_models
from misstep.api.opening import located, make_costed_plan, make_plan, store_of, workdir_for
from misstep.api.run import Run
from misstep.api.running import Shown, carry_out, check_installed, check_machine
from misstep.errors import BadInput
from misstep.text import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from misstep.api.artifacts import Artifacts
    from misstep.api.planned import Planned
    from misstep.api.status import Status
    from misstep.cost import PlanCost
    from misstep.evaluation.results import Results
    from misstep.plan.planner import Plan
    from misstep.runner.events import Event, Listener
    from misstep.runner.run_state import RunState
    from misstep.runner.schedule import Graph
    from misstep.spec.experiment import Experiment as Document
    from misstep.store.base import Store

Note = Callable[[str], None]


class Experiment:
    """An Experiment file, and where its data, its models and its results are.

    Each method does what the command of the same name does, and raises the errors that the command prints.

    Attributes:
        file: the YAML.
    """

    def __init__(
        self,
        file: Path,
        content: Mapping[str, object],
        *,
        data: Mapping[str, str],
        models: Mapping[str, str],
        storage: str | None,
        work: Path | None,
        note: Note,
    ) -> None:
        self.file = file
        self._content, self._storage, self._work, self._note = content, storage, work, note
        self._data, self._models = data, models
        self._run: Run | None = None

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        data: Mapping[str, str | PathLike[str]] | None = None,
        models: Mapping[str, str | PathLike[str]] | None = None,
        storage: str | None = None,
        work: str | PathLike[str] | None = None,
        note: Note | None = None,
    ) -> Experiment:
        """Read an Experiment from its YAML. Nothing but the YAML is read; its fields are checked when they are used.

        Args:
            path: the file.
            data: name that the YAML gives to a data set -> local folder to use for it, as ``--data`` does.
            models: name that the YAML gives to a model -> local folder to use for it, as ``--model`` does.
            storage: store to use instead of the one in the YAML: ``file://DIR`` or ``s3://BUCKET/PREFIX``. A relative
                DIR is taken from the current folder.
            work: folder for logs and the report; ``.misstep/NAME`` in the current folder by default.
            note: called with what should be known and is no error; by default it becomes a Python warning.

        Raises:
            BadInput: the file cannot be read, or is no YAML.
        """
        from misstep.spec.load import read_document

        file = Path(path)
        return cls(
            file,
            read_document(file),
            data={name: str(folder) for name, folder in (data or {}).items()},
            models={name: str(folder) for name, folder in (models or {}).items()},
            storage=storage,
            work=None if work is None else Path(work),
            note=note or _warn,
        )

    def __repr__(self) -> str:
        return f"Experiment({str(self.file)!r})"

    @cached_property
    def document(self) -> Document:
        """The whole Experiment as typed data (`misstep.spec.Experiment`): ``document.spec.arms`` and so on. Local paths
        are absolute. Raises as `validate` does."""
        from misstep.spec.load import experiment_of

        return located(experiment_of(dict(self._content), self.file, self._note), self._storage)

    @property
    def name(self) -> str:
        """The experiment's name. Raises as `validate` does."""
        return self.document.metadata.name

    def validate(self) -> Document:
        """Check every field. Reads no data and no models.

        Returns:
            The checked Experiment, as `document` does.

        Raises:
            InvalidExperiment: fields are wrong. The text has a line for each, with the fix; ``problems`` lists them.
        """
        return self.document

    def plan(self, *, check_models: bool = True) -> Planned:
        """Plan the stages, find what they will cost, and which of them the store has already.

        Args:
            check_models: also check the models, in a process of their own. A model whose check is in the store is not
                checked again.

        Raises:
            BadInput: fields are wrong, data or models are missing, the store cannot be used, a model cannot be used, or
                a stage cannot fit its GPUs.
        """
        from misstep.api.planned import Planned
        from misstep.artifacts.manifest import committed_keys

        plan, cost = self._costed()
        store = store_of(plan)
        notes = self._unusual(plan, store) if check_models else []
        done = committed_keys(store, [stage.key for stage in plan.stages])
        return Planned(plan, cost, frozenset(done), tuple(notes))

    def run(
        self,
        *,
        progress: bool | Callable[[Event], None] | Shown = True,
        only: str | None = None,
        parallel: int | None = None,
        keep_going: bool = False,
        retries: int = 1,
        repair: bool = False,
        isolate: bool = False,
    ) -> Run:
        """Run the stages on this machine, as processes. Those that are done already are not run again.

        It returns when all is done. Ctrl-C, or the button that interrupts a notebook's kernel, stops the stages; the
        next call goes on from what is finished. It works in the main thread only, which is where notebooks run cells.

        Args:
            progress: True prints lines (on a terminal, live rows), False nothing. A function is called with every
                `misstep.Event`: starts, ends, retries and failures of stages, and every few seconds how far each is.
            only: run only the stage of this name, and the stages before it that have no result yet.
            parallel: how many stages run at once; as many as cores and memory allow by default.
            keep_going: after a failure, run all stages that do not need the failed one.
            retries: how often a crashed stage is started again.
            repair: first check every byte of finished stages, and compute again what is damaged.
            isolate: start each stage as a fresh process, without the fork server.

        Returns:
            What ran, with its status, results and artifacts.

        Raises:
            BadInput: as `plan`; a secret or a library is missing, or this is no Linux.
            StageFailed: stages failed; the text names each, with its error and its log.
            RunStopped: it was interrupted. This is a KeyboardInterrupt.
        """
        from misstep.runner.machine import capacity
        from misstep.runner.run import Settings

        check_machine("misstep run", self.file, self.document.spec.secrets)
        shown = progress if isinstance(progress, Shown) else self._shown(progress)
        plan, _ = self._costed()
        graph = _graph(plan, only)
        store = store_of(plan)
        check_installed("misstep run", plan, store, graph)
        store.check(write=True)
        for note in self._unusual(plan, store):
            shown.note(note)
        run = self._as_run(plan)
        run.workdir.create()
        run.workdir.write_plan(plan)
        if repair:
            _repair(store, plan, shown.say)
        settings = Settings(capacity=capacity(parallel), retries=retries, keep_going=keep_going, isolate=isolate)
        about = {"file": str(self.file.resolve()), "command": sys.argv}
        carry_out(plan, graph, store, run.workdir, settings, shown, about)
        return run

    def status(self) -> Status:
        """Return which stages are done, running, failed or waiting. Raises BadInput as `plan` does."""
        return self._planned().status()

    def results(self) -> pd.DataFrame:
        """Return the results of each arm, size and seed, as `Run.results` does. Raises also as `plan` does."""
        return self._planned().results()

    def summary(self) -> pd.DataFrame:
        """Return the results of each arm and size over all seeds, as `Run.summary` does."""
        return self._planned().summary()

    def figures(self) -> Results:
        """Return everything that the report has found, as `Run.figures` does."""
        return self._planned().figures()

    def report(self, folder: str | PathLike[str] | None = None) -> dict[str, Path]:
        """Copy the report's files into a folder, as `Run.report` does."""
        return self._planned().report(folder)

    def artifacts(self) -> Artifacts:
        """Return what the finished stages have written, as `Run.artifacts` does. Raises BadInput as `plan` does."""
        return self._planned().artifacts()

    def _planned(self) -> Run:
        """Return the stages as they were planned last, or plan them now."""
        return self._run or self._as_run(make_plan(self.document, self._data, self._models))

    def _as_run(self, plan: Plan) -> Run:
        self._run = Run(plan, workdir_for(plan.experiment, self._work))
        return self._run

    def _costed(self) -> tuple[Plan, PlanCost]:
        from misstep.cost.fit import refuse_misfits

        plan, cost = make_costed_plan(self.document, self._data, self._models)
        refuse_misfits(cost)
        self._as_run(plan)
        return plan, cost

    def _unusual(self, plan: Plan, store: Store) -> list[str]:
        return check_models(plan, self.document, store)

    def _shown(self, progress: bool | Callable[[Event], None]) -> Shown:
        from misstep.runner.console import console
        from misstep.runner.display import Silent, TextDisplay, Told

        def listener(state: RunState) -> Listener:
            if callable(progress):
                return Told(progress, state)
            return TextDisplay(console(), state) if progress else Silent()

        return Shown(listener, self._note, self._note)


def _warn(text: str) -> None:
    """Give a warning that names the line that called Misstep."""
    own = [one.frame.f_globals.get("__name__", "").startswith("misstep.") for one in inspect.stack(context=0)]
    warnings.warn(text, stacklevel=len(own) - own[::-1].index(True) + 1)


def _graph(plan: Plan, only: str | None) -> Graph:
    from misstep.runner.schedule import graph_of

    names = [stage.name for stage in plan.stages]
    if only is not None and only not in names:
        hint = did_you_mean(only, names, "`misstep plan FILE` lists the stages.")
        raise BadInput("--only", only, f"The plan has no such stage. {hint}")
    return graph_of(plan, None if only is None else [only])


def _repair(store: Store, plan: Plan, say: Callable[[str], None]) -> None:
    from misstep.artifacts.repair import repair

    whole = True
    for stage in plan.stages:
        found = repair(store, stage.key)
        for path, problem in found.damaged.items():
            whole = False
            say(f"removed {path}: {problem}")
        if found.blocks:
            say(f"{stage.name}: {len(found.blocks)} block(s) will be computed again")
    if whole:
        say("repair: no damage found")
