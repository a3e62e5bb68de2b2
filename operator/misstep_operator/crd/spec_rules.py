"""Rules between the parts of ``spec``, in CEL."""

from __future__ import annotations

from misstep.problems.oracles import ORACLES
from misstep.spec.training import Training
from misstep.terms.layouts import FROM_ORACLE, LUCKY, WEIGHED
from misstep.terms.methods import METHODS
from misstep.terms.pairing import WITHOUT_SIZES
from misstep_operator.crd.cel import Rule, get, has, text


def _pick(method: str, field: str, default: object) -> str:
    """Return a method's resource: its own field, or else the common one."""
    return get(f"self.resources.{method}.{field}", get(f"self.resources.default.{field}", default))


def _processes(method: str) -> str:
    gpus = _pick(method, "gpus", 1)
    return f"{_pick(method, 'nodes', 1)} * {_pick(method, 'processesPerNode', f'({gpus} > 0 ? {gpus} : 1)')}"


def _training(method: str) -> list[Rule]:
    """Return rules about a method's batches and processes, for the common settings and for each arm's own."""
    batch = get(f"self.training.{method}.batchSize", Training().model_dump()[method]["batch_size"])
    micro = get(f"self.training.{method}.microBatchSize", 1)
    arm_batch, arm_micro = get(f"arm.{method}.batchSize", batch), get(f"arm.{method}.microBatchSize", micro)

    def everywhere(common: str, of_arm: str) -> str:
        return f"{common} && (!has(self.arms) || self.arms.all(arm, !has(arm.{method}) || {of_arm}))"

    def spread(condition: str) -> str:
        return f"[{_processes(method)}].all(processes, processes == 1 || {condition})"

    def divides(all_rows: str, rows: str) -> str:
        return f"({rows} == {all_rows} || {all_rows} % ({rows} * processes) == 0)"

    shared = everywhere(f"{batch} % processes == 0", f"{arm_batch} % processes == 0")
    return [
        Rule(
            spread(f"({shared})"),
            f"batchSize of {method} must be a multiple of the processes that share it (resources: nodes x "
            "processesPerNode, or gpus)",
        ),
        Rule(
            spread(f"({everywhere(divides(batch, micro), divides(arm_batch, arm_micro))})"),
            f"microBatchSize of {method} times its processes (resources: nodes x processesPerNode, or gpus) must "
            "divide batchSize",
        ),
        Rule(
            f"{_pick(method, 'zeroStage', 0)} != 3 || "
            + everywhere(f"!({has(f'self.training.{method}.loraRank')})", f"!has(arm.{method}.loraRank)"),
            f"loraRank of {method}: adapters cannot be trained with zeroStage 3 (resources): take 2, which spreads all "
            "that is trained",
        ),
    ]


_WRITES = f"{get('self.teacher.kind', text('dataset'))} != 'dataset'"
_NEW = get("self.teacher.newProblemsPerSeed", 1)
_ASKS_ORACLE = " || ".join(
    f"(has(self.arms) && self.arms.exists(arm, has(arm.pairs) && arm.pairs == {text(layout)}))"
    for layout in FROM_ORACLE
)
_POSITIVES = f"{get('self.credit.positivesPerProblem', 0)} > 0"
_FILTER = get("self.training.rft.filter", text("none"))
_WEIGHT = get("self.pairs.weight", text("none"))

SPEC = [
    Rule(
        "has(self.storage) && has(self.storage.uri) && self.storage.uri.startsWith('s3://')",
        "stages in a cluster share no disk: give storage.uri, s3://BUCKET/PREFIX",
    ),
    Rule(
        "!has(self.arms) || self.arms.all(one, self.arms.exists_one(other, other.name == one.name))",
        "arms must have different names",
    ),
    Rule(
        "!has(self.arms) || self.arms.exists_one(arm, arm.method == 'sft')",
        "exactly one arm must have method sft: it is the baseline of the others",
    ),
    Rule(
        "!has(self.arms) || self.arms.all(arm, !has(arm.from) || self.arms.exists(other, other.name == arm.from))",
        "an arm has a from that names no arm of this experiment",
    ),
    # Planning finds circles of more than two arms. CEL has no loops to find them.
    Rule(
        "!has(self.arms) || self.arms.all(arm, !has(arm.from) || !self.arms.exists(other, other.name == arm.from && "
        "has(other.from) && other.from == arm.name))",
        "arms start from one another in a circle: remove from of one of them",
    ),
    Rule(
        "!has(self.arms) || self.arms.all(arm, !has(arm.sizes) || arm.sizes.all(size, size in self.problems.sizes))",
        "an arm has sizes that problems.sizes lacks: add them there, or remove them from the arm",
    ),
    Rule(
        f"!({_ASKS_ORACLE}) || self.problems.train.format in [{', '.join(map(text, ORACLES))}]",
        f"an arm has pairs that need the true first error of a solution: known for problems.train.format "
        f"{', '.join(ORACLES)} only; take placebo-cut, or leave the arm out",
    ),
    Rule(
        f"!({_ASKS_ORACLE}) || !({_WRITES}) || {_NEW} == 0",
        "an arm has pairs that need the true first error of a solution: it is not known for problems that a teacher "
        "writes; set teacher.newProblemsPerSeed to 0, or leave the arm out",
    ),
    Rule(
        f"{_POSITIVES} || !has(self.arms) || !self.arms.exists(arm, has(arm.pairs) && arm.pairs == {text(LUCKY)})",
        f"an arm has pairs {LUCKY}, which need credit of correct solutions: set credit.positivesPerProblem",
    ),
    Rule(
        f"{_POSITIVES} || (has(self.arms) ? !self.arms.exists(arm, arm.method == 'rft' && "
        f"{get('arm.rft.filter', _FILTER)} == 'advantage') : {_FILTER} != 'advantage')",
        "training.rft.filter: advantage needs credit of correct solutions: set credit.positivesPerProblem, or filter "
        "to none",
    ),
    Rule(
        f"!({get('self.credit.estimator', text('adaptive'))} in [{', '.join(map(text, WITHOUT_SIZES))}]) || "
        "(has(self.arms) ? !self.arms.exists(arm, has(arm.pairs) && "
        f"arm.pairs in [{', '.join(text(layout) for layout in WEIGHED if layout != LUCKY)}] && "
        f"{get('arm.pairing.weight', _WEIGHT)} == 'advantage') : {_WEIGHT} != 'advantage')",
        "pairs.weight: advantage needs to know how far the chance of success falls, which credit.estimator "
        f"{' and '.join(WITHOUT_SIZES)} do not say: take adaptive or full-scan",
    ),
    Rule(
        "!has(self.seeds) || self.seeds.all(one, one >= 0 && self.seeds.exists_one(other, other == one))",
        "seeds must be different numbers of zero or more",
    ),
    Rule(
        "!has(self.search) || !has(self.search.seeds) || !has(self.seeds) || "
        "self.search.seeds.all(one, !(one in self.seeds))",
        "search.seeds and seeds have one in common: settings are searched with seeds apart from the report's",
    ),
    Rule(
        f"!({has('self.teacher.model.model')}) || {get('self.teacher.model.model.name', text('teacher'))} != "
        f"{get('self.policy.model.name', text('model'))}",
        "policy.model and teacher.model.model have one name: rename one of them",
    ),
    Rule(
        f"!has(self.problems.train.limit) || {_WRITES} || "
        "self.problems.sizes.all(size, size <= self.problems.train.limit)",
        "the largest of problems.sizes is above problems.train.limit: raise limit, or leave that size out",
    ),
    Rule(
        f"!has(self.problems.train.limit) || !({_WRITES}) || self.problems.sizes.all(size, size <= "
        f"self.problems.train.limit * ({_NEW} > 1 ? {_NEW} : 1))",
        "the largest of problems.sizes is above the problems that a teacher can write or solve: raise "
        "problems.train.limit or teacher.newProblemsPerSeed",
    ),
    *(rule for method in METHODS for rule in _training(method)),
]
