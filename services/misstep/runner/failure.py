"""Why a stage's process ended badly, in words, and what a person needs to go on."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from misstep.runner.processes import Process
from misstep.runner.workdir import Workdir, last_error


@dataclass(frozen=True)
class Failure:
    """A shard whose attempts are used up, and what a person needs to go on."""

    stage: str
    shard: int
    code: int
    error: str
    log: str
    rerun: str


def failure_of(process: Process, code: int, workdir: Workdir) -> Failure:
    """Put together what is known of a process that ended with an exit code, or minus a signal's number."""
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
    """Say why a process ended so: by its own last words, or by what its code tells."""
    said = last_error(workdir.error(*process.task), workdir.log(*process.task), process.log_start)
    if code == 0:
        return "all its shards ended well, but none wrote the manifest"
    if code < 0:
        reason = " (most likely for want of memory)" if code == -signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{reason}" + (f"; its last line was: {said}" if said else "")
    return said or f"exit code {code} and nothing in its log; see forkserver.log beside it"
