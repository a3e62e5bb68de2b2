"""The study's tables, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from misstep.evaluation.estimates import Estimate
from misstep.evaluation.wording import plus_minus
from study.design import BETA, EPOCH, LAYOUTS, LONG, RATE, ROLLOUTS, ROUNDS, SHORT, Task, without_rule
from study.figures import Arm, Figures

NONE = "–"


def tables(found: Figures) -> dict[str, str]:
    """Return every table by name."""
    made = {}
    for task in (SHORT, LONG):
        made[f"{task.prefix}pairs"] = _by_pairs(found, task)
        made[f"{task.prefix}against"] = _against(found, task)
        made[f"{task.prefix}strength"] = _strength(found, task)
        made[f"{task.prefix}gradients"] = _gradients(found, task)
        made[f"{task.prefix}credit"] = _credit(found, task)
    return made | {"epochs": _epochs(found), "choices": _choices(found), "rounds": _rounds(found)}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def accuracy(arm: Arm | None) -> str:
    """Write an accuracy with half its interval."""
    return NONE if arm is None else plus_minus(arm.accuracy).removesuffix("%")


def points(value: Estimate | None) -> str:
    """Write a difference in points with its interval; in bold if that excludes zero."""
    if value is None:
        return NONE
    text = f"{100 * value.value:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})".replace("-", "−")
    return f"**{text}**" if value.low > 0 or value.high < 0 else text


def _by_pairs(found: Figures, task: Task) -> str:
    rows = []
    for layout in LAYOUTS:
        arms = [found.arm(name, layout) for name in task.by_count.values()]
        last = arms[-1]
        tokens = f"{last.tokens / last.rows / 4:.0f}" if last else NONE
        rows.append([f"`{layout}`", *map(accuracy, arms), tokens])
    return table(["pairs", *(str(count) for count in task.counts), "tokens a pair"], rows)


def _against(found: Figures, task: Task) -> str:
    others = [("shared-prefix", "random"), ("shared-prefix", "placebo-cut"), ("whole-response", "random")]
    others += [("placebo-cut", "random"), ("oracle-pit", "placebo-cut"), ("oracle-pit", "shared-prefix")]
    others += [("random", "teacher"), ("teacher", "sft")]
    rows = []
    for one, other in others:
        arms = [found.arm(name, one) for name in task.by_count.values()]
        rows.append([f"`{one}` less `{other}`", *(points(arm.against.get(other) if arm else None) for arm in arms)])
    return table(["difference in points", *(f"{count} pairs" for count in task.counts)], rows)


def _strength(found: Figures, task: Task) -> str:
    settings = [(f"beta {beta:g}", task.by_beta[beta]) for beta in task.betas]
    settings += [(f"rate {rate:g}", task.by_rate[rate]) for rate in task.rates]
    settings.append((f"beta {BETA:g}, rate {RATE:g}", task.usual))
    kinds = ("random", "teacher", "shared-prefix")
    rows = []
    for label, name in settings:
        arms = [found.arm(name, kind) for kind in kinds]
        step = arms[2]
        rows.append([label, *map(accuracy, arms), points(step.against.get("random") if step else None)])
    return table(["setting", *(f"`{kind}`" for kind in kinds), "`shared-prefix` less `random`"], rows)


def _epochs(found: Figures) -> str:
    kinds = ("rft", "random", "shared-prefix")
    rows = []
    for epoch, name in SHORT.by_epoch.items():
        arms = [found.arm(name, kind) for kind in kinds]
        if epoch == EPOCH:
            arms[0] = found.arm("choices", "rft")
        step = arms[2]
        pairs = f"{step.rows:.0f}" if step else NONE
        rows.append([str(epoch), pairs, *map(accuracy, arms), points(step.against.get("random") if step else None)])
    head = ["epochs of the policy", "credited pairs", *(f"`{kind}`" for kind in kinds)]
    return table([*head, "`shared-prefix` less `random`"], rows)


def _credit(found: Figures, task: Task) -> str:
    named = {f"{n} rollout{'s' * (n > 1)}": name for n, name in task.by_rollouts.items()}
    rows = []
    for label, name in {**named, "adaptive": f"{task.prefix}adaptive"}.items():
        arm, credit = found.arm(name, "shared-prefix"), found.credit.get(name)
        if credit is not None and arm is not None:
            cost, true = f"{credit.tokens / credit.negatives:.1f}", f"{100 * credit.true_pits:.1f}%"
            rows.append([label, cost, true, accuracy(arm), points(arm.against.get("usual"))])
    head = ["credit", "tokens a wrong solution", "true pits", "accuracy of `shared-prefix`"]
    return table([*head, f"less {ROLLOUTS} rollouts"], rows)


def _gradients(found: Figures, task: Task) -> str:
    rows = []
    for kind, seeds in found.gradients.get(task.format, {}).items():

        def mean(name: str, seeds: Sequence[dict[str, float]] = seeds) -> float:
            return sum(seed[name] for seed in seeds) / len(seeds)

        cosines = [f"{mean(f'cosine_{count}'):.2f}" for count in task.counts]
        spread = [seed["alignment"] for seed in seeds]
        aligned = f"{mean('alignment'):.2f} ({min(spread):.2f} to {max(spread):.2f})"
        rows.append([f"`{kind}`", aligned, f"{mean('noise'):.0f}", *cosines])
    return table(["pairs", "alignment (seeds)", "noise", *(f"cosine of {count}" for count in task.counts)], rows)


def _choices(found: Figures) -> str:
    rows = []
    for name, arm in found.arms.get("choices", {}).items():
        if name != "sft":
            against = points(arm.against.get(without_rule(name)))
            rows.append([f"`{name}`", f"{arm.rows:.0f}", accuracy(arm), against])
    return table(["arm", "rows", "accuracy", "less the arm without the rule"], rows)


def _rounds(found: Figures) -> str:
    rows = []
    for name, kind in ROUNDS.items():
        made = [found.arm("rounds", f"{name}-{n}") for n in (1, 2, 3)]
        gains = [points(arm.against.get(f"{name}-{n}") if arm else None) for n, arm in enumerate(made[1:], 1)]
        rows.append([f"`{kind}`", *map(accuracy, made), *gains])
    return table(["pairs", "round 1", "round 2", "round 3", "second less first", "third less second"], rows)
