"""Show a run: live rows on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from misstep.runner.events import Event
from misstep.runner.run_state import RunningShard, RunState
from misstep.runner.status import progress_text, summary_text
from misstep.text import duration_text

REMIND_SECONDS = 30.0
"""Where there is no terminal: time without a line after which all running stages are listed."""


class TextDisplay:
    """Prints a line for each start, end, retry and failure. On a terminal, rows of running stages replace starts."""

    def __init__(self, console: Console, run: RunState) -> None:
        self._console = console
        self._run = run
        self._reminded = 0.0
        self._live: Live | None = None
        if console.is_terminal and console.is_interactive:
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def on_event(self, event: Event) -> None:
        line = self._line(event)
        if line:
            self._reminded = event.at
            self._console.print(line, soft_wrap=True)
        if event.what == "run-started" and event.detail["todo"] and self._live is not None:
            self._live.start()
        if event.what == "run-ended":
            self.close()
        self._draw()

    def on_tick(self, at: float) -> None:
        self._draw()
        if self._live is None and at - self._reminded >= REMIND_SECONDS and self._run.running:
            self._reminded = at
            for row in self._run.running.values():
                how_far = _state(row) or f"running for {duration_text(at - row.since)}"
                line = Text.assemble(_clock(at), f" {_label(*row.task)}: {how_far}")
                self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        if self._live is not None and self._live.is_started:
            self._live.update(live_rows(self._run), refresh=True)

    def _line(self, event: Event) -> Text | None:
        name, detail = _label(event.stage, event.shard), event.detail
        match event.what:
            case "run-started":
                return Text(_opening(len(detail["todo"]), len(detail["committed"]), detail["stages"]))
            case "stage-failed":
                return failure_text(event)
            case "shard-waiting":
                text = Text(f"{name}: another run on this machine works on it; waiting for its result")
            case "shard-started" if self._live is None:
                text = Text(f"{name}: started" + (f" (attempt {detail['attempt']})" if detail["attempt"] > 1 else ""))
            case "stage-committed":
                text = self._committed(event.stage or "", detail)
            case "shard-retried":
                text = Text.assemble(f"{name}: ", ("failed, trying again", "yellow"), f": {detail['error']}")
            case "isolated":
                threads = ", ".join(sorted(set(detail["threads"])))
                text = Text(f"stages start as fresh processes: imported modules have started threads ({threads})")
            case "store-silent":
                text = Text.assemble(("the store does not answer, waiting", "yellow"), f": {detail['error']}")
            case "stopping":
                running = ", ".join(detail["running"]) or "nothing runs"
                text = Text(f"stopping (again Ctrl-C kills at once): {running}")
            case _:
                return None
        return Text.assemble(_clock(event.at), " ", text)

    def _committed(self, name: str, detail: Mapping[str, Any]) -> Text:
        took = "by another run" if detail["seconds"] is None else f"in {duration_text(detail['seconds'])}"
        said = summary_text(detail["summary"])
        said = f": {said}" if said else ""
        done = (f"{self._run.done}/{self._run.total}", "dim")
        return Text.assemble(f"{name}: ", ("done", "green"), f" {took}{said}  ", done)


class Silent:
    """Shows nothing."""

    def on_event(self, event: Event) -> None:
        """Do nothing."""

    def on_tick(self, at: float) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class FailureDisplay(Silent):
    """Prints failures only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_event(self, event: Event) -> None:
        if event.what == "stage-failed":
            self._console.print(failure_text(event), soft_wrap=True)


class Told:
    """Calls a function with every event, and with the progress of each process every few seconds."""

    def __init__(self, tell: Callable[[Event], None], run: RunState, every: float = 5.0) -> None:
        self._tell = tell
        self._run = run
        self._every = every
        self._next = every

    def on_event(self, event: Event) -> None:
        self._tell(event)

    def on_tick(self, at: float) -> None:
        if at < self._next:
            return
        self._next = at + self._every
        for row in self._run.running.values():
            if row.heartbeat is not None:
                detail = row.heartbeat.model_dump(mode="json", exclude={"shard", "updated"})
                self._tell(Event("shard-progress", at, *row.task, detail=detail))

    def close(self) -> None:
        """Do nothing: no event is held back."""


class JsonDisplay(Told):
    """Prints every event as a JSON line, and the progress of each process every few seconds."""

    def __init__(self, stream: IO[str], run: RunState, every: float = 5.0) -> None:
        def write(event: Event) -> None:
            stream.write(json.dumps(event.as_dict()) + "\n")
            stream.flush()

        super().__init__(write, run, every)


def failure_text(event: Event) -> Text:
    """Return what a person needs after a failure: the error, the log, and how to run that stage alone."""
    detail = event.detail
    text = Text.assemble(
        (f"{_label(event.stage, event.shard)}: failed", "red"),
        f" (exit {detail['code']}): {detail['error']}",
        f"\n  log:         {detail['log']}",
        f"\n  rerun alone: {detail['rerun']}",
    )
    if detail["still_running"]:
        text.append(f"\n  still running: {', '.join(detail['still_running'])} (Ctrl-C stops them)")
    return text


def live_rows(run: RunState) -> RenderableType:
    """Return one row for each running process, and one for the whole run."""
    table = Table.grid(padding=(0, 2))
    for row in run.running.values():
        fraction = row.fraction
        bar = ProgressBar(total=1.0, completed=fraction or 0.0, width=20) if fraction is not None else Text()
        elapsed = duration_text(max(run.at - row.since, 0.0))
        table.add_row(Text(_label(*row.task), style="bold"), bar, Text(_state(row)), Text(elapsed, style="dim"))
    total = Text(f"{run.done}/{run.total} stages, {duration_text(run.at)}", style="dim")
    return Group(table, total)


def _opening(todo: int, committed: int, stages: int) -> str:
    if not todo:
        return f"{committed} of {stages} stages are there already: nothing to do"
    there = f", {committed} are there already" if committed else ""
    return f"{todo} of {stages} stages to run{there}"


def _state(row: RunningShard) -> str:
    return progress_text(row.heartbeat) if row.started else "waiting for its libraries to load"


def _label(stage: str | None, shard: int | None) -> str:
    return f"{stage} [shard {shard}]" if shard else f"{stage or ''}"


def _clock(at: float) -> tuple[str, str]:
    minutes, seconds = divmod(int(at), 60)
    return f"{minutes:3d}:{seconds:02d}", "dim"
