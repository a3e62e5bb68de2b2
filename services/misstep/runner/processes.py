"""The stage processes of one run: each from the request for it to its end, with its GPUs and its errors; and the fork
server that starts them all."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

from misstep.plan.frozen import FrozenStage
from misstep.processes import free_port
from misstep.runner import preload
from misstep.runner.launch import Ended, Launcher, Report
from misstep.runner.run import Failure, Settings
from misstep.runner.schedule import Task
from misstep.runner.workdir import Workdir, last_error


@dataclass
class Process:
    """One attempt at a task."""

    task: Task
    attempt: int
    log_start: int
    """Where in its log file this attempt begins."""
    gpus: tuple[str, ...] = ()
    began: float = field(default_factory=time.monotonic)


class Processes:
    """The processes that were requested and are not finished yet, by the number that reports name them with.

    The fork server starts with the first request, and again after it has died.
    """

    def __init__(self, workdir: Workdir, settings: Settings, *, s3: bool) -> None:
        self._workdir, self._settings, self._s3 = workdir, settings, s3
        self._by_ident: dict[int, Process] = {}
        self._idents = count(1)
        self._launcher: Launcher | None = None

    def start(
        self,
        task: Task,
        attempt: int,
        stage: FrozenStage,
        environment: Mapping[str, str],
        to_come: Iterable[FrozenStage],
    ) -> None:
        """Request a process.

        Args:
            to_come: the stages that a new fork server prepares for.
        """
        log = self._workdir.log(*task)
        self._workdir.error(*task).unlink(missing_ok=True)
        ident = next(self._idents)
        gpus = self._free_gpus(stage.resources.gpus)
        self._by_ident[ident] = Process(task, attempt, log.stat().st_size if log.exists() else 0, gpus)
        self._server(to_come).start(
            ident,
            [str(self._workdir.frozen(task.stage)), "--shard", str(task.shard)],
            log=log,
            threads=stage.resources.cpus,
            modules=self._modules_of(stage),
            title=task.stage,
            environment=environment,
            error_file=self._workdir.error(*task),
            gpus=gpus,
        )

    def _free_gpus(self, count: int) -> tuple[str, ...]:
        taken = {gpu for process in self._by_ident.values() for gpu in process.gpus}
        free = [gpu for gpu in self._settings.capacity.gpus if gpu not in taken]
        assert count <= len(free), "the schedule starts no more than fit"
        return tuple(free[:count])

    def _modules_of(self, stage: FrozenStage) -> tuple[str, ...]:
        if stage.resources.distributed:
            return preload.modules_of_parent(s3=self._s3)
        return preload.modules_of(stage.kind, s3=self._s3)

    def _server(self, to_come: Iterable[FrozenStage]) -> Launcher:
        if self._launcher is None:
            stages = list(to_come)
            kinds = {stage.kind for stage in stages if not stage.resources.distributed}
            parents = [m for stage in stages if stage.resources.distributed for m in self._modules_of(stage)]
            self._launcher = Launcher(
                self._workdir.root / "logs" / "forkserver.log",
                list(dict.fromkeys([*parents, *preload.in_order(kinds, s3=self._s3)])),
                isolate=self._settings.isolate,
                entry=self._settings.entry,
            )
        return self._launcher

    def reports(self) -> list[Report]:
        """Wait for reports, for the settings' poll time at most."""
        if self._launcher is None:  # only processes of other runs are waited for
            time.sleep(self._settings.poll_seconds)
            return []
        return self._launcher.reports(self._settings.poll_seconds)

    def get(self, ident: int) -> Process | None:
        return self._by_ident.get(ident)

    def settle(self, ident: int) -> Process:
        """Remove an ended process, and return it; its GPUs are free again."""
        return self._by_ident.pop(ident)

    def stages(self) -> list[str]:
        """Return the names of the stages that have processes, each once, sorted."""
        return sorted({process.task.stage for process in self._by_ident.values()})

    def signal(self, ident: int, number: int) -> None:
        if self._launcher is not None:
            self._launcher.signal(ident, number)

    def signal_task(self, task: Task, number: int) -> None:
        """Send a signal to a task's process; nothing happens where it has not started yet, or has ended."""
        for ident, process in self._by_ident.items():
            if process.task == task:
                self.signal(ident, number)

    def signal_all(self, number: int) -> None:
        for ident in self._by_ident:
            self.signal(ident, number)

    def drop_unstarted(self) -> list[Task]:
        """Drop the requests that have no process yet, and return their tasks; the closed server drops them."""
        launcher = self._launcher
        dropped = [ident for ident in self._by_ident if launcher is None or not launcher.has_started(ident)]
        return [self.settle(ident).task for ident in dropped]

    def server_gone(self) -> list[Ended]:
        """Return an end of every process, for they died with the server. The next request starts a new one."""
        self.close()
        return [Ended(ident, -signal.SIGKILL, time.monotonic(), 0.0) for ident in self._by_ident]

    def close(self) -> None:
        """Kill the server and all processes that still run."""
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None


def meeting_point(stage: FrozenStage) -> dict[str, str]:
    """Return the environment by which the nodes of a training stage find each other on this machine."""
    if stage.resources.nodes == 1:
        return {}
    return {"MISSTEP_MASTER_ADDR": "127.0.0.1", "MISSTEP_MASTER_PORT": str(free_port())}


def failure_of(process: Process, code: int, workdir: Workdir) -> Failure:
    """Describe the failure of a process.

    Args:
        code: its exit code, or minus the number of the signal that killed it.
    """
    task = process.task
    return Failure(
        stage=task.stage,
        shard=task.shard,
        code=code,
        error=error_of(process, code, workdir),
        log=str(workdir.log(*task)),
        rerun=f"misstep stage {workdir.frozen(task.stage)} --shard {task.shard}",
    )


def error_of(process: Process, code: int, workdir: Workdir) -> str:
    """Return why a process failed: the last error that it left, or what its exit code means."""
    said = last_error(workdir.error(*process.task), workdir.log(*process.task), process.log_start)
    if code == 0:
        return "all its shards ended without an error, but none wrote the manifest"
    if code < 0:
        reason = " (most likely the machine ran out of memory)" if code == -signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{reason}" + (f"; its last line was: {said}" if said else "")
    return said or f"exit code {code} and nothing in its log; see forkserver.log beside it"
