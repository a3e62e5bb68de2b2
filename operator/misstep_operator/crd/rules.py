"""Rules between fields of an Experiment, in CEL. By them the API server refuses what cannot run when it is applied.

Each has an equivalent in ``misstep.spec``; ``tests/operator/crd_cases.py`` has cases for both. Every list in a rule has
a maximum length, since the API server refuses rules that are too costly. Rules use nothing that only newer API servers
have (optional fields, ``cel.bind``).
"""

from __future__ import annotations

from pydantic import BaseModel

from misstep.spec import (
    arms,
    cluster,
    credit,
    experiment,
    models,
    policy,
    problems,
    resources,
    search,
    teacher,
    training,
    volumes,
)
from misstep.terms.formats import GENERATED
from misstep.terms.layouts import FIXED_CHOICE, WEIGHED
from misstep.terms.methods import METHODS
from misstep_operator.crd.cel import Rule, get, has, text
from misstep_operator.crd.spec_rules import SPEC

_GENERATED = f"[{', '.join(map(text, GENERATED))}]"


def _origin(what: str) -> list[Rule]:
    count = "[has(self.path), has(self.hub), has(self.uri)].filter(given, given).size()"
    optional = f"self.format in {_GENERATED} || " if what == "data set" else ""
    return [
        Rule(f"{optional}{count} > 0", "give hub with revision, or uri with digest (misstep upload prints them)"),
        Rule(f"{count} <= 1", "give only one of path, hub and uri"),
        Rule("!has(self.path)", "no pod sees a folder of your machine: misstep upload prints uri and digest instead"),
        Rule(
            "!has(self.hub) || has(self.revision)",
            f"a {what} on the Hub needs revision, its commit of 40 hex digits",
        ),
        Rule("has(self.uri) == has(self.digest)", "uri and digest belong together: misstep upload prints both"),
    ]


SOURCE = [
    Rule(f"!(self.format in {_GENERATED}) || !(has(self.path) || has(self.hub) || has(self.uri))", problems.NO_ORIGIN),
    Rule(f"!(self.format in {_GENERATED}) || has(self.limit)", problems.SAY_LIMIT),
    Rule(f"!(self.format in {_GENERATED}) || !has(self.columns)", problems.NO_COLUMNS),
    Rule(
        "self.format != 'gsm8k' || !has(self.columns) || "
        "!(has(self.columns.solution) || has(self.columns.answerAfter))",
        problems.ONE_COLUMN["gsm8k"],
    ),
    Rule(
        "self.format != 'math' || !has(self.columns) || !(has(self.columns.answer) || has(self.columns.answerAfter))",
        problems.ONE_COLUMN["math"],
    ),
    *_origin("data set"),
]

COLUMNS = [Rule("!has(self.answerBefore) || has(self.answerAfter)", problems.BEFORE_NEEDS_AFTER)]

_SAME = f"train and test are the same problems: {problems.APART}"


def _hub_split(role: str) -> str:
    fields = ("hub", "revision", "config")
    source = [*(get(f"self.{role}.{field}", text("")) for field in fields), get(f"self.{role}.split", text(role))]
    return f"[{', '.join(source)}]"


PROBLEMS = [
    Rule(
        "self.sizes.isSorted() && self.sizes.all(one, self.sizes.exists_one(other, other == one))",
        "sizes must be in rising order, each once",
    ),
    Rule(
        "!has(self.train.uri) || has(self.test)",
        "train.uri is a copy of the training problems only: give test too, as misstep upload does",
    ),
    Rule(f"!(self.train.format in {_GENERATED}) || has(self.test)", problems.TEST_SIZE),
    Rule(
        f"has(self.test) || !has(self.train.hub) || {get('self.train.split', text('train'))} != 'test'",
        _SAME,
    ),
    Rule(
        f"!has(self.test) || has(self.test.limit) || !has(self.train.hub) || !has(self.test.hub) || "
        f"{_hub_split('train')} != {_hub_split('test')}",
        _SAME,
    ),
    Rule(
        "!has(self.test) || has(self.test.limit) || !has(self.train.digest) || !has(self.test.digest) || "
        "self.train.digest != self.test.digest",
        _SAME,
    ),
]

TOLERATION = [
    Rule(
        f"has(self.key) || {get('self.operator', repr('Equal'))} == 'Exists'",
        "a toleration without key tolerates every taint: give key, or operator: Exists",
    ),
    Rule(
        f"{get('self.operator', repr('Equal'))} != 'Exists' || !has(self.value)",
        "operator Exists takes any value: remove value, or set operator to Equal",
    ),
    Rule(
        "!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
        "tolerationSeconds belongs to effect NoExecute: set it, or remove tolerationSeconds",
    ),
]

VOLUME = [
    Rule(
        "[has(self.configMap), has(self.secret), has(self.persistentVolumeClaim), has(self.emptyDir)]"
        ".filter(given, given).size() == 1",
        "a volume has exactly one of configMap, secret, persistentVolumeClaim and emptyDir",
    ),
    Rule(
        f"!self.mountPath.matches('^/({'|'.join(volumes.OWN_FOLDERS)})(/|$)')",
        "mountPath is in a folder of the stage's container: choose another",
    ),
    Rule(
        "!has(self.emptyDir) || has(self.readOnly) && !self.readOnly",
        "a read-only emptyDir stays empty: set readOnly: false",
    ),
]

EVALUATION = [
    Rule(
        "self.temperature > 0.0 || self.samples == 1",
        "at temperature 0 all samples are the same: set samples to 1",
        only_new=True,
    ),
    Rule(
        "self.passAt.all(k, k <= self.samples)",
        "pass@k needs at least as many samples as k: raise samples, or leave that k out of passAt",
    ),
]

ARM = [
    Rule("has(self.pairs) == (self.method == 'dpo')", "pairs belongs to method dpo, and dpo needs it"),
    Rule("!has(self.pairing) || self.method == 'dpo'", arms.ONLY_DPO_HAS_PAIRING),
    Rule(
        f"!({has('self.pairing.chosen')}) || !has(self.pairs) || "
        f"!(self.pairs in [{', '.join(map(text, FIXED_CHOICE))}])",
        arms.FIXED_CHOSEN,
    ),
    Rule(
        f"{get('self.pairing.weight', text('none'))} != 'advantage' || !has(self.pairs) || "
        f"self.pairs in [{', '.join(map(text, WEIGHED))}]",
        arms.NOTHING_TO_WEIGH,
    ),
    Rule("!has(self.from) || self.method != 'sft'", arms.SFT_HAS_NO_FROM),
    *(
        Rule(f"self.method == '{method}' || !has(self.{method})", f"settings {method} belong to method {method}")
        for method in METHODS
    ),
]

BUDGET = [
    Rule(
        "has(self.pricePerMillionInput) == has(self.pricePerMillionOutput)",
        "pricePerMillionInput and pricePerMillionOutput belong together: give both or neither",
        only_new=True,
    ),
    Rule(
        "!has(self.maxCost) || has(self.pricePerMillionInput) && has(self.pricePerMillionOutput) && "
        "(self.pricePerMillionInput > 0.0 || self.pricePerMillionOutput > 0.0)",
        "maxCost needs pricePerMillionInput and pricePerMillionOutput, one of them above zero",
        only_new=True,
    ),
]

TEACHER = [
    *(
        Rule(
            f"has(self.{kind}) == ({get('self.kind', repr('dataset'))} == '{kind}')",
            f"{kind} belongs to kind {kind}, which needs it",
        )
        for kind in ("endpoint", "model")
    ),
    Rule(
        "self.temperature > 0.0 || self.solutions == 1",
        "at temperature 0 all solutions are the same: set solutions to 1",
        only_new=True,
    ),
    Rule(
        "self.temperature > 0.0 || self.newProblemsPerSeed <= 1",
        "at temperature 0 all new problems of a seed are the same: set newProblemsPerSeed to 1",
        only_new=True,
    ),
]


def _optimisation(model: type[training.Optimisation]) -> list[Rule]:
    batch = get("self.batchSize", model.model_fields["batch_size"].default)
    return [
        Rule(
            f"!has(self.microBatchSize) || {batch} % self.microBatchSize == 0",
            "microBatchSize must divide batchSize: change one of them",
        )
    ]


RULES: dict[type[BaseModel], list[Rule]] = {
    experiment.ExperimentSpec: SPEC,
    policy.Prompt: [
        Rule("!has(self.template) || self.template.contains('{question}')", "template must contain {question}")
    ],
    credit.Credit: [
        Rule(
            "self.rollouts >= self.bestOf",
            "rollouts must be at least bestOf: best-of-K has no unbiased estimate from fewer than K rollouts",
        )
    ],
    experiment.Evaluation: EVALUATION,
    arms.Arm: ARM,
    models.ModelRef: _origin("model"),
    teacher.TeacherModelRef: _origin("model"),
    teacher.Teacher: TEACHER,
    teacher.TeacherBudget: BUDGET,
    teacher.TeacherEndpoint: [
        Rule("!self.url.matches('/completions/*$')", "url is the base address: leave out /chat/completions")
    ],
    problems.Source: SOURCE,
    problems.Columns: COLUMNS,
    problems.Problems: PROBLEMS,
    training.SftTraining: _optimisation(training.SftTraining),
    training.RftTraining: _optimisation(training.RftTraining),
    training.DpoTraining: _optimisation(training.DpoTraining),
    search.Search: [
        Rule(
            "!has(self.seeds) || self.seeds.all(one, one >= 0 && self.seeds.exists_one(other, other == one))",
            "search.seeds must be different numbers of zero or more",
        ),
        Rule(
            "!has(self.sizes) || self.sizes.all(one, self.sizes.exists_one(other, other == one))",
            "search.sizes lists each size once",
        ),
    ],
    resources.StageResources: [
        Rule(
            f"{get('self.gpus', 0)} == 0 || {get('self.processesPerNode', 'self.gpus')} == self.gpus",
            "processesPerNode must be gpus, or be left out",
        )
    ],
    cluster.Toleration: TOLERATION,
    cluster.PodSettings: [
        Rule(
            "!has(self.env) || self.env.all(one, self.env.exists_one(other, other.name == one.name))",
            "env needs different names",
        ),
        Rule(
            "!has(self.volumes) || self.volumes.all(one, self.volumes.exists_one(other, "
            "(one.mountPath + '/').startsWith(other.mountPath + '/')))",
            "volumes need different mountPaths, none inside another",
        ),
    ],
    volumes.Volume: VOLUME,
}
"""The rules of each type."""
