"""The cost of a plan as text for people. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict

from misstep.cost.fit import resources_text
from misstep.cost.stage import PlanCost, StageCost
from misstep.cost.throughput import RATES
from misstep.plan import params as p
from misstep.plan.frozen import FrozenStage
from misstep.plan.kinds import StageKind
from misstep.plan.planner import Plan
from misstep.text import memory_text

GROUP_HEADER = ("stages", "size", "done", "work", "tokens", "at most", "hours", "memory", "each on")


def group_rows(plan: Plan, cost: PlanCost, committed: Collection[str]) -> list[tuple[str, ...]]:
    """One row per kind and size (only per kind if no tokens pass through a model), in the plan's order; `committed`
    holds the keys that the store has."""
    groups: dict[tuple[str, int | None], list[StageCost]] = {}
    size_of = sizes(plan)
    for stage in plan.stages:
        found = cost.stages[stage.name]
        size = size_of[stage.key] if found.work.tokens else None
        groups.setdefault((label(plan, stage), size), []).append(found)
    order = list(dict.fromkeys(name for name, _ in groups))
    rows: list[tuple[str, ...]] = []
    for name, size in sorted(groups, key=lambda group: (order.index(group[0]), group[1] or 0)):
        members = groups[name, size]
        done = sum(one.stage.key in committed for one in members)
        rows.append(
            (
                f"{len(members)} x {name}" if len(members) > 1 else name,
                "" if size is None else f"{size:,}",
                str(done) if done else "",
                *amounts(members),
                _memory(members),
                resources_text(members[0].stage.resources),
            )
        )
    return rows


def total_lines(plan: Plan, cost: PlanCost, committed: Collection[str]) -> list[str]:
    """The totals of all stages, and of those still to do."""
    found = list(cost.stages.values())
    left = [one for one in found if one.stage.key not in committed]
    lines = [f"{len(plan.stages)} stages, {len(found) - len(left)} done, in {plan.storage.uri}"]
    for what, stages in (("in all", found), ("to do", left)) if len(left) < len(found) else (("in all", found),):
        generated, trained = (sum(getattr(one.work, name) for one in stages) for name in ("generated", "trained"))
        hours = _hours(stages) or "hours not known"
        lines.append(f"{what}: {short(generated)} tokens generated, {short(trained)} trained on; {hours}")
    return lines + [line for one in found if (line := _endpoint_line(one)) is not None]


def _endpoint_line(found: StageCost) -> str | None:
    """The tokens and the price of an endpoint's requests; None for other stages and if they are not known."""
    params, work = found.stage.typed_params(), found.work
    if not isinstance(params, p.SynthesizeParams) or params.endpoint_model is None or not work.tokens:
        return None
    read, written = short(work.read), short(work.generated)
    line = f"the teacher {params.endpoint_model} reads {read} tokens and writes {written} of these"
    prices = params.budget.price_input, params.budget.price_output
    if None in prices:
        return line
    per_read, per_written = (float(price or 0) for price in prices)
    return f"{line}, for about {(work.read * per_read + work.generated * per_written) / 1e6:,.2f}"


def notes(cost: PlanCost) -> list[str]:
    """Notes that the reader needs to judge the estimates."""
    model, teacher, lines = cost.coster.model, cost.coster.teacher, []
    if model is None:
        lines.append(
            "The model's shape is not known, so hours and memory are left out: give its folder with --model "
            "NAME=FOLDER (its config.json is enough)."
        )
    for shape in (model, teacher):
        if shape is not None and shape.counted != "exact":
            lines.append(f"Parameters of {shape.name}: {shape.parameters:,}, {shape.counted}.")
    if any(found.work.unit == "samples" and found.work.items is None for found in cost.stages.values()):
        lines.append("How many test problems there are is not known: set spec.assumptions.testProblems.")
    if any(found.work.unit == "requests" and found.work.items is None for found in cost.stages.values()):
        lines.append("How many seed problems the teacher has is not known: set spec.assumptions.trainProblems.")
    on_gpus = [found.stage for found in cost.stages.values() if found.on_gpu]
    unknown = sorted({str(stage.kind) for stage in on_gpus if stage.resources.gpu_memory_mib is None})
    if unknown:
        lines.append(f"Nothing is refused for memory where gpuMemory is not given: {', '.join(unknown)}.")
    over: dict[str, str] = {}
    for found in cost.stages.values():
        needed, given = found.memory, found.stage.resources.memory_mib
        if needed and not found.on_gpu and needed.mib > 1.15 * given:
            over[found.stage.kind] = f"{found.stage.kind} {memory_text(needed.mib)} of {memory_text(given)}"
    if over:
        lines.append(f"Processes will need more than spec.resources gives them: {', '.join(over.values())}.")
    lines.append("Hours and memory are estimates, on the high side; --explain-cost shows the arithmetic.")
    return lines


def explanation(plan: Plan, cost: PlanCost) -> list[str]:
    """The arithmetic behind the estimates: expectations, rates with their sources, memory term by term."""
    means = cost.coster.means
    lines = ["Expected (spec.assumptions):"]
    lines += [f"  {name.replace('_', ' ')}: {value:g}" for name, value in asdict(means).items() if value is not None]
    lines.append(f"  prompt tokens, template and examples included: {cost.coster.prompt:.0f}")
    devices = {cost.coster.assumptions.gpu if one.on_gpu else "core" for one in cost.stages.values() if one.hours}
    for model in filter(None, (cost.coster.model, cost.coster.teacher)):
        lines += ["", f"{model.name}: N = {model.parameters:,} parameters ({model.counted})", "", "Tokens per second:"]
        for rate in RATES:
            if rate.device in devices:
                speed = rate.tokens_per_second(model.parameters)
                lines.append(f"  {rate.device}, {rate.engine}, {rate.what}: {short(speed)} ({rate.source})")
    seen: set[str] = set()
    for stage in plan.stages:
        found = cost.stages[stage.name]
        if found.most_memory is None or found.hours is None:
            continue
        terms = found.most_memory.terms
        body = [f"  {memory_text(t.mib):>9}  {' = '.join(filter(None, (t.name, t.formula)))}" for t in terms]
        if "\n".join(body) in seen:
            continue
        seen.add("\n".join(body))
        where = "a GPU" if found.on_gpu else "a process"
        lines += [
            "",
            f"{label(plan, stage)} ({stage.name}), {where}, at most {memory_text(found.most_memory.mib)}:",
            *body,
        ]
        if found.on_gpu:
            lines.append("         5%  fragmentation")
    return lines


def amounts(found: Sequence[StageCost]) -> tuple[str, str, str, str]:
    """Work, expected tokens, most tokens, and hours of these stages together, as table cells."""
    work = [one.work for one in found]
    items = [w.items for w in work if w.items is not None]
    tokens, most = sum(w.tokens for w in work), sum(w.most_tokens for w in work)
    return (
        f"{short(sum(items))} {work[0].unit}" if items else "",
        short(tokens) if tokens else "",
        short(most) if most else "",
        _hours(found),
    )


def short(number: float) -> str:
    """Format a large number with three digits: 1.23M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _hours(found: Sequence[StageCost]) -> str:
    texts = []
    for on_gpu, device in ((True, "GPU"), (False, "core")):
        hours = sum(one.hours or 0.0 for one in found if one.on_gpu is on_gpu)
        if hours:
            texts.append(f"{short(hours)} {device}-h" if hours >= 1 else f"{short(60 * hours)} {device}-min")
    return ", ".join(texts)


def _memory(found: Sequence[StageCost]) -> str:
    """The largest expected memory, and the largest bound if it differs."""
    known = [(one.memory.mib, one.most_memory.mib) for one in found if one.memory and one.most_memory]
    if not known:
        return ""
    expected, most = (memory_text(max(side)) for side in zip(*known, strict=True))
    return expected if expected == most else f"{expected} to {most}"


def label(plan: Plan, stage: FrozenStage) -> str:
    """Return a stage's kind, plus the split if it works on test problems or on those that judge a search."""
    sampled = stage
    if stage.kind is StageKind.VERIFY:
        sampled = plan.by_key[stage.inputs["samples"]]
    params = sampled.typed_params()
    if isinstance(params, p.SampleParams) and params.split != "train":
        return f"{stage.kind} ({params.split})"
    return str(stage.kind)


def sizes(plan: Plan) -> dict[str, int | None]:
    """Return the number of training problems behind each stage's result, by key; None for problems and report."""
    found: dict[str, int | None] = {}
    for stage in plan.stages:
        subset = getattr(stage.typed_params(), "subset", None)
        if subset is not None:
            found[stage.key] = subset.size
        elif stage.kind is StageKind.REPORT:
            found[stage.key] = None
        else:
            found[stage.key] = max((s for key in stage.inputs.values() if (s := found[key]) is not None), default=None)
    return found
