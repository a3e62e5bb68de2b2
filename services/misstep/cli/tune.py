"""``misstep tune``: search the settings of an Experiment on validation problems, and write the best ones."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misstep.api.models import check_models
from misstep.api.opening import cost_of
from misstep.api.running import carry_out, check_installed, check_machine
from misstep.cli.experiments import load, named_folders, workdir_for
from misstep.cli.options import DataOption, FileArgument, ModelOption, ParallelOption, QuietOption, StorageOption
from misstep.cli.running import exit_unless_done, shown_on
from misstep.errors import BadInput, MisstepError

if TYPE_CHECKING:
    from rich.console import Console

    from misstep.api.running import Shown
    from misstep.cost import PlanCost
    from misstep.plan.planner import Plan
    from misstep.runner.run import Settings
    from misstep.runner.workdir import Workdir
    from misstep.search.result import SearchResult
    from misstep.search.walk import Walked
    from misstep.spec import Experiment
    from misstep.store.base import Store

RESULT = "search.json"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tune", rich_help_panel="Run")(tune)


def tune(
    file: FileArgument,
    data: DataOption = None,
    model: ModelOption = None,
    storage: StorageOption = None,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work", metavar="DIR", help="Folder for logs and search.json.", show_default=".misstep/NAME-search"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where to write the experiment with the chosen settings. It may be FILE itself.",
            show_default="NAME.tuned.yaml in the folder for logs",
        ),
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="List the settings and what they will cost; run nothing.")
    ] = False,
    parallel: ParallelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Search settings on validation problems, one grid for all arms of a method.

    The experiment says what to try. Where it does not, this command prints a block to paste:

    [dim]  search:[/dim]
    [dim]    seeds: \\[100, 101, 102][/dim]   [dim]# not those of the report[/dim]
    [dim]    dpo: {learningRate: \\["1e-4", "3e-4"], beta: \\["0.1", "0.3"]}[/dim]

    SFT is searched first, then the methods that start from its model. The best mean accuracy over seeds wins. No stage
    of a search reads the test problems. Stages that are done already are not run again.

    The experiment with the best settings is written to another file:

    [dim]misstep tune my-gsm8k.yaml --out my-gsm8k.tuned.yaml && misstep run my-gsm8k.tuned.yaml[/dim]
    """
    from misstep.cli.terminal import console
    from misstep.cost.fit import refuse_misfits
    from misstep.plan.judging import judging
    from misstep.plan.planner import storage_of
    from misstep.runner.machine import capacity
    from misstep.runner.run import Settings
    from misstep.search.freeze import frozen_yaml
    from misstep.search.grid import search_name
    from misstep.search.suggest import refuse_nothing_to_search
    from misstep.search.walk import walk
    from misstep.sources import resolve
    from misstep.store.open import open_store

    _check_comparing(plan_only)
    experiment, text = load(file, storage), file.read_text(encoding="utf-8")
    refuse_nothing_to_search(experiment)
    workdir = workdir_for(search_name(experiment.metadata.name), work)
    target = out or workdir.root / f"{experiment.metadata.name}.tuned.yaml"
    _check_target(out)
    externals = resolve(experiment, named_folders("--data", data), named_folders("--model", model))
    judged = judging(experiment, externals)
    store = open_store(storage_of(experiment), patient=False)
    found = walk(experiment, externals, judged, lambda _, keys: _accuracies(store, keys))
    cost = cost_of(found.plan, experiment, externals)
    refuse_misfits(cost)
    shown = console()
    output = shown_on(shown, quiet=quiet)
    if plan_only:
        _show_plan(found, cost, experiment, store, shown)
        return
    check_machine("misstep tune", file, experiment.spec.secrets)
    if found.result is None:
        check_installed("misstep tune", found.plan, store)
        store.check(write=True)
        for note in check_models(found.plan, experiment, store):
            output.note(note)
    workdir.create()
    if found.result is None:
        about = {"file": str(file.resolve()), "command": sys.argv}
        rounds = _Rounds(store, workdir, Settings(capacity=capacity(parallel)), output, about, quiet=quiet)
        found = walk(experiment, externals, judged, rounds.judge)
    elif not quiet:
        shown.print(f"all {len(found.plan.stages)} stages are there already: nothing to do")
    workdir.write_plan(found.plan)
    assert found.result is not None, "every round was judged"
    frozen = frozen_yaml(text, experiment, found.result, file, target, datetime.datetime.now(datetime.UTC).date())
    _write(workdir.root / RESULT, found.result.model_dump_json(indent=1) + "\n")
    _write(target, frozen)
    load(target)  # what was written is valid
    show_search(found.result, shown)
    shown.print(f"\nFigures: {workdir.root / RESULT}", soft_wrap=True)
    shown.print(f"The experiment with these settings: {target}", soft_wrap=True)


class _Rounds:
    """Runs each round of a search, unless the store has all its scores."""

    def __init__(
        self,
        store: Store,
        workdir: Workdir,
        settings: Settings,
        output: Shown,
        about: Mapping[str, Any],
        *,
        quiet: bool,
    ) -> None:
        self._store, self._workdir, self._settings = store, workdir, settings
        self._output, self._about, self._quiet = output, about, quiet
        self._round = 0

    def judge(self, plan: Plan, keys: frozenset[str]) -> Mapping[str, float]:
        """Return the accuracy of each key. Raises typer.Exit where the run fails or is stopped."""
        from misstep.runner.schedule import graph_of

        self._round += 1
        there = _accuracies(self._store, keys)
        if there is not None:
            return there
        if not self._quiet:
            self._output.say(f"round {self._round} of the search: {len(keys)} models to judge")
        self._workdir.write_plan(plan)
        with exit_unless_done(quiet=self._quiet):
            carry_out(plan, graph_of(plan), self._store, self._workdir, self._settings, self._output, self._about)
        found = _accuracies(self._store, keys)
        if found is None:
            raise MisstepError("the run has ended, and the store does not have all its scores: run the command again")
        return found


def _accuracies(store: Store, keys: frozenset[str]) -> dict[str, float] | None:
    """Return pass@1 of the scores with these keys; None where one of them is not there yet."""
    from misstep.artifacts.watch import StoreWatch

    manifests = StoreWatch(store).manifests(sorted(keys))
    if len(manifests) < len(keys):
        return None
    found: dict[str, float] = {}
    for key, manifest in manifests.items():
        pass_at = manifest.summary["pass_at"]
        if "1" not in pass_at:
            raise MisstepError(f"{key} has no samples to judge by: no prompt fits the model's context")
        found[key] = pass_at["1"]["value"]
    return found


def _check_comparing(plan_only: bool) -> None:
    """Raise NotInstalled where this command itself could not compare the settings that it runs."""
    from misstep.plan.extras import missing, need

    if not plan_only and missing("evaluation"):
        need("misstep tune", "local")


def _check_target(out: Path | None) -> None:
    """Raise BadInput where a file cannot be written, before anything runs."""
    if out is None:
        return
    if out.is_dir() or not out.resolve().parent.is_dir() or not os.access(out.resolve().parent, os.W_OK):
        raise BadInput("--out", str(out), "Name a file in a folder that is there and can be written.")


def _show_plan(found: Walked, cost: PlanCost, experiment: Experiment, store: Store, out: Console) -> None:
    from misstep.artifacts.manifest import committed_keys
    from misstep.cli.terminal import plain_table
    from misstep.cost import show
    from misstep.search.result import setting_text

    search = experiment.spec.search
    assert search is not None
    table = plain_table("arm", "settings", "each")
    for arm, tried in found.tried.items():
        each = "; ".join(setting_text(candidate.written) or "as it is" for candidate in tried)
        table.add_row(arm, str(len(tried)), each)
    out.print(table)
    sizes, seeds = (", ".join(map(str, values)) for values in (experiment.spec.search_sizes, search.seeds))
    out.print(f"\nat sizes {sizes}, with seeds {seeds}, judged by {search.problems:,} validation problems\n")
    committed = committed_keys(store, [stage.key for stage in found.plan.stages])
    groups = plain_table(*show.GROUP_HEADER)
    for row in show.group_rows(found.plan, cost, committed):
        groups.add_row(*row)
    out.print(groups)
    lines = [*show.total_lines(found.plan, cost, committed), "", *show.notes(cost)]
    out.print("\n" + "\n".join(lines), soft_wrap=True)


def _write(path: Path, text: str) -> None:
    """Write a file atomically: it may be the searched one."""
    path = path.resolve()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def show_search(result: SearchResult, out: Console) -> None:
    """Print a table of every setting of every arm, the chosen ones marked, and what to know about the choice."""
    from misstep.cli.terminal import plain_table
    from misstep.search.result import setting_text

    table = plain_table("arm", "setting", "pass@1, %", *(f"seed {seed}" for seed in result.seeds), "", keep=1)
    for arm in result.arms:
        for number, tried in enumerate(arm.tried):
            error = "" if tried.standard_error is None else f" ± {100 * tried.standard_error:.1f}"
            chosen = number == arm.chosen
            table.add_row(
                arm.arm,
                setting_text(tried.setting) or "as it is",
                f"{100 * tried.mean:.1f}{error}",
                *(f"{100 * accuracy:.1f}" for accuracy in tried.by_seed.values()),
                "chosen" if chosen and len(arm.tried) > 1 else "",
                style="bold" if chosen else None,
            )
    out.print()
    out.print(table)
    sizes = ", ".join(f"{size:,}" for size in result.sizes)
    judged = f"{result.judging_problems:,} validation problems, {sizes} training problems"
    out.print(f"\n{judged}; ± is the standard error over seeds")
    for warning in (warning for arm in result.arms for warning in arm.warnings):
        out.print(f"note: {warning}", soft_wrap=True)
