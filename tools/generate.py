#!/usr/bin/env python3
"""Write the generated pages, or check that they are current.

python tools/generate.py           write docs/{architectures,experiment}.md, the JSON Schema of an Experiment, the
                                   tables in docs/{artifacts,cost,operations,running}.md, the
                                   CustomResourceDefinition, the chart's admission rules, schema and README, the
                                   study's Experiments, and its tables and pictures (from study/figures.json)
python tools/generate.py --check   exit 1, naming the file, where one differs; also checks locks/ against pyproject
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel

from misstep import telemetry
from misstep.artifacts.records import TABLES
from misstep.cost.architecture import KNOWN, known_architecture
from misstep.cost.expectations import DEFAULTS
from misstep.cost.throughput import RATES
from misstep.errors import BadInput
from misstep.generation import architectures
from misstep.plan.presets import PRESETS
from misstep.spec.experiment import Experiment
from misstep.spec.explain import default_text, fields_of, nested_model, type_name
from misstep.spec.schema import FILE as SCHEMA_FILE
from misstep.spec.schema import schema_text
from misstep_operator.crd.definition import crd_yaml
from misstep_operator.metrics import Metrics
from misstep_operator.observed import ExperimentView, JobState, JobView, Observed, StoreView
from misstep_operator.policy.admission import admission_yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts only this file's folder there when it runs it

from study.pages import pages as study_pages
from tools.locks import DEV_EXTRAS, EXTRAS

from tools import chart_values

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- generated tables: make docs -->", "<!-- end of generated tables -->"


def main(argv: list[str]) -> int:
    """Write or check; returns the exit code."""
    names = ("artifacts", "cost", "operations", "running")
    artifacts, cost, operations, running = (ROOT / f"docs/{name}.md" for name in names)
    chart = chart_values.CHART / "README.md"
    pages = {
        ROOT / "docs/experiment.md": experiment_page(),
        ROOT / f"docs/{SCHEMA_FILE}": schema_text(),
        ROOT / "docs/architectures.md": architectures_page(),
        artifacts: between_marks(artifacts.read_text(), schema_tables()),
        cost: between_marks(cost.read_text(), cost_tables()),
        operations: between_marks(operations.read_text(), metric_tables()),
        running: between_marks(running.read_text(), preset_table()),
        ROOT / "charts/misstep/files/crd.yaml": crd_yaml(),
        ROOT / "charts/misstep/files/admission.yaml": admission_yaml(),
        chart: between_marks(chart.read_text(), chart_tables()),
        chart_values.CHART / "values.schema.json": chart_values.schema_text(),
        **study_pages(),
    }
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if "--check" in argv:
        last_warnings = [f"{path.relative_to(ROOT)} is not current: run make docs" for path in stale]
        last_warnings += lock_complaints()
        print("\n".join(last_warnings) or "generated files are current")
        return 1 if last_warnings else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


def experiment_page() -> str:
    """The reference of all Experiment fields, from their types."""
    lines = [
        "# Experiment reference",
        "",
        "Generated from the types by `make docs`. The same text on the command line: `misstep explain spec.credit`.",
    ]
    queue: list[tuple[str, type[BaseModel]]] = [("", Experiment)]
    shown: dict[type[BaseModel], str] = {}
    while queue:
        path, model = queue.pop(0)
        lines += ["", f"## {path or 'Experiment'}", ""]
        if model in shown:
            lines.append(f"The same fields as `{shown[model]}`.")
            continue
        shown[model] = path
        lines += [doc(model), ""]
        lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
        for name, info in fields_of(model).items():
            default = "needed" if info.is_required() else (default_text(info) or "")
            nested = nested_model(info.annotation)
            meaning = " ".join((info.description or (doc(nested) if nested else "")).split())
            lines.append(f"| `{name}` | {cell(type_name(info))} | {cell(default)} | {cell(meaning)} |")
            if nested is not None:
                queue.append((f"{path}.{name}".lstrip("."), nested))
    return "\n".join(lines) + "\n"


def doc(model: type[BaseModel]) -> str:
    """A type's docstring on one line."""
    return " ".join((model.__doc__ or "").split())


def architectures_page() -> str:
    """How each architecture runs, from the table that the sweep has written."""
    ways, notes, not_built = architectures.WAYS, architectures.NOTES, architectures.NOT_BUILT
    counts = {way: sum(one == way for one in ways.values()) for way in ("rows", "cache", "full", "refused")}
    lines = [
        "# Architectures",
        "",
        f"Made with transformers {architectures.TRANSFORMERS} by `python -m tools.architectures && make docs`. The "
        "sweep takes some ten minutes of a core. `make check` does not run it; it compares this page with the table "
        "that the sweep wrote. Tests compare the version with the installed one, and try some types again.",
        "",
        "For each causal type the sweep makes a few tiny random models, with windows, chunks and top-k so small that "
        "texts are longer. The transformers engine samples greedily from prompts of different lengths, in five rows. "
        "Rows share prompts, leave at different times, and others join. The sweep then looks up each token in a full "
        "pass over the text so far, without a cache. The token's logit must be the largest, or within 0.0001 of it. "
        "A response's log-probability must be that of full passes.",
        "",
        f"| way | types | what it is |\n|---|---|---|\n"
        f"| rows | {counts['rows']} | rows of any length side by side, in buffers: the fastest |\n"
        f"| cache | {counts['cache']} | the model's own cache, with prompts of one length at a time |\n"
        f"| full | {counts['full']} | no cache: each token reads its whole text again (slow; the log says so) |\n"
        f"| refused | {counts['refused']} | no full pass gives a text's next token |",
        "",
        "Every model is checked when it is loaded. A few short random texts must give the same result as full passes, "
        "by the fastest way that this table allows. With another version of transformers the table is not used, and "
        "only models without windows run by rows. vLLM has code of its own, and this page does not apply to it.",
        "",
        "| type | way | tokens compared | what was seen |\n|---|---|---|---|",
    ]
    for name, way in ways.items():
        lines.append(f"| `{name}` | {way} | {architectures.TOKENS.get(name, '')} | {cell(notes.get(name, ''))} |")
    lines += [
        "",
        "## Not tried",
        "",
        "No tiny model of these types could be made. They are checked when they are loaded.",
        "",
    ]
    lines += ["| type | why |\n|---|---|", *(f"| `{name}` | {cell(why)} |" for name, why in not_built.items())]
    return "\n".join(lines) + "\n"


def schema_tables() -> str:
    """The Arrow schema of every table that stages exchange."""
    lines: list[str] = []
    for kind, tables in TABLES.items():
        for table, schema in tables.items():
            lines += ["", f"### {kind}/{table}", "", "| column | type | may be null |", "|---|---|---|"]
            lines += [f"| `{f.name}` | {cell(str(f.type))} | {'yes' if f.nullable else ''} |" for f in schema]
    return "\n".join(lines).strip()


def preset_table() -> str:
    """The named prompts of an Experiment."""
    lines = ["| preset | for | template | examples | stops at |", "|---|---|---|---|---|"]
    for name, preset in PRESETS.items():
        prompt, stops = preset.prompt, ", ".join(f"`{_shown(stop)}`" for stop in preset.stop)
        row = [f"`{name}`", preset.about, f"`{_shown(prompt.template)}`", str(len(prompt.examples) or ""), stops]
        lines.append(f"| {' | '.join(map(cell, row))} |")
    return "\n".join(lines)


def _shown(text: str) -> str:
    return text.replace("\n", "\\n")


def metric_tables() -> str:
    """The Prometheus metrics of the operator and of stages."""
    # Labels are seen on a series, so there has to be one of each.
    metrics, view = Metrics(), ExperimentView("namespace", "experiment", "uid", 1, False, {})
    job = JobView("job", "sft-1", "sft", 1, JobState.COMPLETE, ended=1.0)
    store = StoreView(accuracies={("sft", "100"): 1.0})
    status = {"state": "Running", "stages": [{"name": "sft", "state": "running"}]}
    metrics.record(view, status, Observed(view, BadInput("spec", "none", "none"), (job,), store=store))
    telemetry.LOSS.labels("sft")
    lines = []
    for title, registry in (("The operator", metrics.registry), ("A stage's process", telemetry.REGISTRY)):
        lines += ["", f"### {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        for metric in sorted(registry.collect(), key=lambda metric: metric.name):
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            labels = ", ".join(label for label in metric.samples[0].labels if label != "le")
            lines.append(f"| `{name}` | {metric.type} | {labels} | {cell(metric.documentation)} |")
    return "\n".join(lines).strip()


def chart_tables() -> str:
    """The chart's values, and the fields of a rule of its policy."""
    return f"{chart_values.table()}\n\n### An item of policy.rules\n\n{chart_values.policy_table()}"


def cost_tables() -> str:
    """The cost model's rates with their sources, its expectations by format, and the models that it knows."""
    lines = ["### Rates", "", "| device | engine | what | parameter-tokens/s | cap, tokens/s | 7B, tokens/s | source |"]
    lines.append("|---|---|---|---|---|---|---|")
    for rate in RATES:
        seven = rate.tokens_per_second(7_000_000_000)
        shown = f"{rate.parameter_tokens:.2g} | {rate.most:,.0f} | {seven:,.{0 if seven >= 10 else 1}f}"
        lines.append(f"| {rate.device} | {rate.engine} | {rate.what} | {shown} | {cell(rate.source)} |")
    lines += ["", "### Expectations by format", "", f"| | {' | '.join(DEFAULTS)} |", "|---" * (len(DEFAULTS) + 1) + "|"]
    for name in asdict(DEFAULTS["gsm8k"]):
        values = [getattr(means, name) for means in DEFAULTS.values()]
        shown = " | ".join("" if value is None else f"{value:g}" for value in values)
        lines.append(f"| {name.replace('_', ' ')} | {shown} |")
    lines += ["", "### Models on the Hub", "", "| model | parameters | layers | hidden | heads | key-value heads |"]
    lines.append("|---|---|---|---|---|---|")
    for hub in KNOWN:
        model = known_architecture(hub)
        assert model is not None
        shape = f"{model.layers} | {model.hidden} | {model.heads} | {model.kv_heads}"
        lines.append(f"| `{hub}` | {model.parameters:,} | {shape} |")
    return "\n".join(lines)


def cell(text: str) -> str:
    """Make a text safe inside a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def between_marks(page: str, content: str) -> str:
    """Replace the text between a page's marks by generated content."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{content}\n\n{END}{rest.split(END)[1]}"


def lock_complaints() -> list[str]:
    """Return where a lock lacks a requirement of pyproject.toml, or has another version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    core = project["project"]["dependencies"]
    wanted = {extra: expand(extras, extra) + core for extra in (*EXTRAS, "vllm-gpu")}
    wanted["core"] = core
    wanted["dev"] = [text for extra in DEV_EXTRAS for text in expand(extras, extra)]
    wanted["dev"] += core + project["dependency-groups"]["dev"]
    last_warnings = []
    for name, requirements in wanted.items():
        path = ROOT / f"locks/{name}.txt"
        locked = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", path.read_text(), re.MULTILINE))
        for text in requirements:
            requirement = Requirement(text)
            version = locked.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                last_warnings.append(f"locks/{name}.txt has {requirement.name} {version}, not {text}: run make locks")
    return last_warnings


def expand(extras: dict[str, list[str]], name: str) -> list[str]:
    """Expand an extra, including our own extras that it names."""
    found: list[str] = []
    for text in extras[name]:
        requirement = Requirement(text)
        if requirement.name == "misstep":
            for other in sorted(requirement.extras):
                found += expand(extras, other)
        else:
            found.append(text)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
