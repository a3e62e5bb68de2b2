"""The processes that log a run into its trackers while it goes on: ``misstep track --follow``, one for each tracker.

The run never waits for a tracker, and never fails because of one. A tracker that is away is named once, and the command
that logs everything later is printed at the end.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from misstep.plan.planner import Plan
    from misstep.runner.events import Event
    from misstep.runner.workdir import Workdir

END_SECONDS = 20.0
"""How long a run that has ended waits for its trackers to get the last points."""
_STOPPED_SECONDS = 3.0
"""The same for a run that a person has stopped."""


@dataclass
class _Follower:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    read: int


class Followers:
    """Listener that starts one process for each tracker, and passes on what they have to say."""

    def __init__(self, names: Sequence[str], plan: Plan, workdir: Workdir, say: Callable[[str], None]) -> None:
        self._names, self._plan, self._workdir, self._say = names, plan, workdir, say
        self._followers: list[_Follower] = []
        self._wait = END_SECONDS

    def on_event(self, event: Event) -> None:
        if event.what == "run-started":  # run.json is there by now: this listener comes after the one that writes it
            self._followers = [self._start(name) for name in self._names]
        elif event.what == "stopping":
            self._wait = _STOPPED_SECONDS

    def on_tick(self, at: float) -> None:
        for follower in self._followers:
            self._pass_on(follower)

    def close(self) -> None:
        """Give the trackers a moment for the last points, then end what is left of the processes."""
        until = time.monotonic() + self._wait
        late = []
        for follower in self._followers:
            try:
                code = follower.process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                follower.process.kill()
                code = follower.process.wait()
            self._pass_on(follower)
            if code:
                late.append(follower.name)
        self._followers = []
        if late:
            again = shlex.join(self._command(["misstep"], late))
            self._say(f"tracking: {' and '.join(late)} did not get everything. To log what is missing:\n  {again}")

    def _start(self, name: str) -> _Follower:
        log = self._workdir.root / "logs" / f"track-{name}.log"
        command = [*self._command([sys.executable, "-m", "misstep"], [name]), "--follow"]
        with log.open("ab") as out:
            # A session of its own: Ctrl-C is for the run, which then ends its followers.
            process = subprocess.Popen(  # noqa: S603 - no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        return _Follower(name, process, log, log.stat().st_size)

    def _command(self, program: list[str], names: Sequence[str]) -> list[str]:
        to = [part for name in names for part in ("--to", name)]
        return [*program, "track", self._plan.experiment, *to, "--work", str(self._workdir.root)]

    def _pass_on(self, follower: _Follower) -> None:
        """Print the whole lines that a follower has written since the last look."""
        try:
            with follower.log.open("rb") as file:
                file.seek(follower.read)
                text = file.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        follower.read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if line.startswith(("warning:", "error:", "again:")):
                self._say(f"tracking {follower.name}: {line}")
