"""Write ``report.html``: one self-contained page, safe against any text in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from misstep.evaluation import wording as w
from misstep.evaluation.conclusion import headline_size
from misstep.evaluation.credit_words import credit_words
from misstep.evaluation.curve_plot import curve_picture
from misstep.evaluation.efficiency import MIN_PROBLEMS, MIN_SIZES, needed_ratio
from misstep.evaluation.examples import Example, QByStep
from misstep.evaluation.pit_plots import pit_picture, q_picture
from misstep.evaluation.results import Answers, Point, Problems, Results, Teacher
from misstep.evaluation.safe_page import environment, style, value_bar
from misstep.evaluation.scores import VERDICTS
from misstep.evaluation.shown import Shown
from misstep.evaluation.style import arm_styles, css_colour
from misstep.evaluation.worth_plot import worth_picture
from misstep.plan.params import FEW_STEPS

_LONG_TABLE = 30
"""A table with more rows is collapsed."""


def render(results: Results, q: QByStep, examples: Sequence[Example], shown: Sequence[Shown]) -> str:
    """Return the page. Equal arguments give equal bytes: no date, no randomness, no set order."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            css=style(),
            r=results,
            w=w,
            long_table=_LONG_TABLE,
            reason=lambda name: name.replace("_", " ").replace("-", " "),
            examples=examples,
            shown=shown,
            few_steps=FEW_STEPS,
            min_problems=MIN_PROBLEMS,
            min_sizes=MIN_SIZES,
            verdicts=_verdict_bar,
            qbar=value_bar,
            per=lambda total, count: w.number(total / count) if count else w.NONE,
            **_pictures(results, q),
            **_tables(results),
        )
    )


def _pictures(results: Results, q: QByStep) -> dict[str, Any]:
    caption = (
        "Points: mean over seeds; vertical lines: 95% intervals. Points of one size stand a little apart so that "
        "their intervals can be seen."
    )
    if results.fit is not None:
        caption += " The grey band is SFT’s power law, dotted where it is extended to twice the largest size."
    styles = arm_styles(results)
    return {
        "pictures": {
            "curve": curve_picture(results),
            "worth": worth_picture(results),
            "pits": pit_picture(results),
            "q": q_picture(q),
        },
        "curve_caption": caption,
        "colours": {arm: css_colour(style) for arm, style in styles.items()},
    }


def _tables(results: Results) -> dict[str, Any]:
    methods = [c for c in results.cells if c.method != "sft"]
    arms = list(dict.fromkeys(c.arm for c in results.cells))
    points = sorted(results.points, key=lambda p: (arms.index(p.arm), p.size, p.seed))
    size = headline_size(results)
    tiles = sorted((c for c in methods if c.size == size), key=lambda c: (-c.accuracy.value, c.arm))
    factors = [c.worth.interpolated for c in methods] + [c.worth.fitted for c in methods]
    cut = [c.answers.cut_off / c.answers.samples for c in results.cells if c.answers.samples]
    b = results.fit.b.value if results.fit is not None else 0.0
    return {
        "facts": _facts(results),
        "tiles": tiles,
        "tile_key": _tile_key(results, any(c.worth.interpolated.relation for c in tiles)),
        "methods": methods,
        "has_methods": bool(methods),
        "extrapolated": any(f.extrapolated for f in factors),
        "ratio_of_8": f"{needed_ratio(8.0, b):.2f}" if b > 0.0 and any(f.relation for f in factors) else "",
        "ks": sorted({k for c in results.cells for k in c.pass_at}),
        "maj_ks": sorted({k for c in results.cells for k in c.maj_at if k > 1}),
        "any_cut": any(share > 0.0 for share in cut),
        "cut_range": f"{w.percent(min(cut))} to {w.percent(max(cut))}" if cut else "",
        "arms": {c.arm: w.learns_from(c.method, c.layout, c.from_arm) for c in results.cells},
        "rounds": any(cell.from_arm for cell in results.cells),
        "any_policy": any(p.training.policy_epoch is not None for p in points),
        "points": points,
        "pair_points": [p for p in points if p.pairs is not None],
        "credit_words": credit_words(results),
        "control_words": [words for arm in arms if (words := _control_words(arm, points))],
        "splits": [s for s in ("train", "validation", "test") if _has_split(results.problems, s)],
        "overlap_words": _overlap_words(results.problems),
        "teacher_words": _teacher_words(results.problems.teacher),
    }


def _facts(results: Results) -> list[str]:
    arms = len({c.arm for c in results.cells})
    facts = [w.counted(arms, "arm")]
    if results.sizes:
        sizes = f"{results.sizes[0]:,} to {results.sizes[-1]:,}" if len(results.sizes) > 1 else f"{results.sizes[0]:,}"
        facts.append(f"{sizes} training problems")
        facts.append(w.counted(len(results.seeds), "seed"))
    facts.append(w.counted(results.test_problems, "test problem"))
    each = {c.answers.samples // (results.test_problems * len(c.seeds)) for c in results.cells}
    if len(each) == 1:
        facts.append(f"{w.counted(each.pop(), 'sample')} of each")
    if results.prompt is not None:
        facts.append(f"prompt {results.prompt.name} ({results.prompt.sha256[:8]})")
    return facts


def _tile_key(results: Results, factors: bool) -> str:
    if factors:
        return (
            f"How many times as many problems {results.yardstick} needs for the same accuracy, read off its own "
            "points, with the 95% interval. “>”: more than was measured; “*”: read a little beyond it."
        )
    return "Share of test answers that are right (pass@1). The data carry no factor; the reasons stand below."


def _has_split(problems: Problems, split: str) -> bool:
    return any(split in counts for counts in (problems.counts, problems.duplicates, problems.bad_gold))


def _teacher_words(teacher: Teacher | None) -> str:
    if teacher is None:
        return ""
    tokens = f"{teacher.prompt_tokens:,} tokens read and {teacher.generated_tokens:,} written"
    cost = f", at a price of {teacher.cost_millionths / 1e6:,.2f}" if teacher.cost_millionths else ""
    return (
        f"A language model was the teacher: of {w.counted(teacher.drafts, 'draft')} from "
        f"{w.counted(teacher.seeds, 'seed problem')}, {teacher.kept:,} became training problems ({tokens}{cost})."
    )


def _control_words(arm: str, points: Sequence[Point]) -> str:
    """Describe what an arm with a control layout shows about credit's pits, over its sizes and seeds."""
    found = [p.pairs for p in points if p.arm == arm and p.pairs is not None]
    if any(pairs.cut_at_pit is not None for pairs in found):
        total = sum(pairs.pairs for pairs in found)
        at_pit, no_other = (sum(getattr(p, name) or 0 for p in found) for name in ("cut_at_pit", "no_other_cut"))
        return (
            f"{arm}: {at_pit:,} of {w.counted(total, 'random cut')} fell on the pit, {no_other:,} of them because no "
            "pair can be made at another step. The smaller this share, the more the placebo says."
        )
    counts = sum((Counter(pairs.agreement) for pairs in found), Counter[str]())
    if not counts.total():
        return ""
    exact = counts["pit_is_oracle"]
    return (
        f"{arm}: credit’s pit is the true first error in {exact:,} of {w.counted(counts.total(), 'credited solution')} "
        f"({w.percent(exact / counts.total())}); it lies before it in {counts['pit_before_oracle']:,} and after it in "
        f"{counts['pit_after_oracle']:,}; {counts['no_pit']:,} have no pit, {counts['no_true_error']:,} no true error."
    )


def _overlap_words(problems: Problems) -> str:
    if not problems.test_problems_in_training:
        return "No test problem shares a passage with a training problem."
    one = problems.test_problems_in_training == 1
    return (
        f"{w.counted(problems.test_problems_in_training, 'test problem')} {'shares' if one else 'share'} a passage "
        f"with training problems; {w.counted(problems.left_out_of_training, 'training problem')} left out for it."
    )


def _verdict_bar(answers: Answers) -> Markup:
    """Draw the shares of verdicts as one bar, with the counts as its title."""
    counts = [(verdict, getattr(answers, verdict)) for verdict in VERDICTS]
    title = ", ".join(f"{count:,} {verdict}" for verdict, count in counts)
    parts = Markup("").join(
        Markup('<i class="{}" style="width: {:.2f}%"></i>').format(verdict, 100 * count / answers.samples)
        for verdict, count in counts
        if count
    )
    return Markup('<span class="bar" role="img" title="{0}" aria-label="{0}">{1}</span>').format(title, parts)
