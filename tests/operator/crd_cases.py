"""Experiments that the cluster's API server must refuse, and what it must say; some that it must take.

Each is a valid Experiment with some fields changed. The same objects go to the rules offline (``test_crd.py``) and to a
real API server (``tests/cluster/test_crd.py``); one machine refuses them too, but for those that only a cluster cannot
run.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

COMMIT, DIGEST = "a" * 40, "sha256:" + "b" * 64

VALID: dict[str, Any] = {
    "apiVersion": "misstep.dev/v1alpha1",
    "kind": "Experiment",
    "metadata": {"name": "valid"},
    "spec": {
        "storage": {"uri": "s3://bucket/misstep"},
        "problems": {
            "train": {"format": "gsm8k", "hub": "openai/gsm8k", "revision": COMMIT, "config": "main", "limit": 4000},
            "test": {"format": "gsm8k", "uri": "s3://bucket/misstep/external/b/test.jsonl", "digest": DIGEST},
            "sizes": [1000, 2000, 4000],
        },
        "policy": {
            "model": {"uri": "s3://bucket/misstep/external/b", "digest": DIGEST},
            "prompt": {"template": "Q: {question}"},
        },
        "teacher": {
            "kind": "endpoint",
            "endpoint": {
                "url": "https://example.org/v1",
                "model": "large",
                "budget": {"maxCost": 5, "pricePerMillionInput": 0.5, "pricePerMillionOutput": 1.5},
            },
        },
        "credit": {"rollouts": 5, "bestOf": 5},
        "training": {method: {"batchSize": 64, "microBatchSize": 8} for method in ("sft", "rft", "dpo")},
        "evaluation": {"samples": 4, "passAt": [1, 4]},
        "arms": [
            {"name": "sft", "method": "sft", "sft": {"epochs": 2}},
            {"name": "rft", "method": "rft", "rft": {"microBatchSize": 16}},
            {"name": "dpo", "method": "dpo", "pairs": "shared-prefix", "sizes": [1000], "dpo": {"batchSize": 32}},
        ],
        "seeds": [0, 1],
        "resources": {"default": {"gpus": 2}, "sft": {"nodes": 2}, "sample": {"gpus": 1, "processesPerNode": 1}},
        "assumptions": {"steps": 1},
        "cluster": {
            "defaults": {
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [
                    {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
                    {"key": "team", "value": "maths"},
                ],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "volumes": [
                    {"mountPath": "/etc/misstep/ca", "configMap": "ca.example.com"},
                    {"mountPath": "/etc/misstep/ca-more", "secret": "keys"},
                ],
            },
        },
    },
}


class Case(NamedTuple):
    """One Experiment."""

    name: str
    change: dict[str, Any]
    """Dotted path below ``spec`` -> new value; None removes the field."""
    said: str = ""
    """Words of the rule's message; empty where the Experiment is valid."""
    locally: str = ""
    """Words of what one machine says, where they are others."""
    only_cluster: bool = False
    """Whether one machine takes it."""


def experiment(case: Case, name: str = "valid") -> dict[str, Any]:
    """Build a case's Experiment."""
    document = copy.deepcopy(VALID)
    document["metadata"]["name"] = name
    for path, value in case.change.items():
        *parents, last = path.split(".")
        holder = document["spec"]
        for parent in parents:
            holder = holder[int(parent)] if isinstance(holder, list) else holder.setdefault(parent, {})
        if isinstance(holder, list):
            holder[int(last)] = value
        elif value is None:
            holder.pop(last, None)
        else:
            holder[last] = value
    return document


_COPY = VALID["spec"]["problems"]["test"]
_ON_HUB = {"format": "gsm8k", "hub": "openai/gsm8k", "revision": COMMIT, "config": "main", "split": "train"}
_TEACHER_MODEL = {"kind": "model", "model": {"model": {"hub": "org/large", "revision": COMMIT}}}
_STRIDES = {
    "problems.train": {"format": "strides", "limit": 4000},
    "problems.test": {"format": "strides", "limit": 100},
}
_TWO_SFT = [{"name": "a", "method": "sft"}, {"name": "b", "method": "sft"}]

GOOD = [
    Case("all that rules look at", {}),
    Case(
        "rounds, in any order",
        {
            "arms": [
                {"name": "third", "method": "dpo", "pairs": "random", "from": "second", "sizes": [4000]},
                {"name": "second", "method": "rft", "from": "first"},
                {"name": "sft", "method": "sft"},
                {"name": "first", "method": "dpo", "pairs": "shared-prefix", "from": "sft", "sizes": [1000]},
            ]
        },
    ),
    Case(
        "nothing but what is needed",
        {name: None for name in VALID["spec"] if name not in ("storage", "problems", "policy")},
    ),
    Case("strides", _STRIDES),
    Case("true first errors", {**_STRIDES, "teacher": None, "arms.2.pairs": "oracle-pit"}),
    Case(
        "true first errors of problems that a teacher solves",
        {**_STRIDES, "teacher.newProblemsPerSeed": 0, "arms.2.pairs": "oracle-pit"},
    ),
    Case(
        "everything about pairs",
        {
            "credit": {"estimator": "full-scan", "positivesPerProblem": 2},
            "pairs": {"perNegative": 2, "chosen": "nearest", "weight": "advantage"},
            "training.rft.filter": "advantage",
            "arms": [
                {"name": "sft", "method": "sft"},
                {"name": "rft", "method": "rft"},
                {"name": "step", "method": "dpo", "pairs": "shared-prefix", "pairing": {"chosen": "likeliest"}},
                {"name": "lucky", "method": "dpo", "pairs": "lucky-step", "pairing": {"weight": "none"}},
                {"name": "far", "method": "dpo", "pairs": "edit-distance", "pairing": {"perNegative": 3}},
            ],
        },
    ),
    Case(
        "weights that no arm uses",
        {
            "credit.estimator": "sequential",
            "pairs": {"weight": "advantage"},
            "arms.2": {"name": "d", "method": "dpo", "pairs": "random"},
        },
    ),
    Case(
        "lucky steps by the size of their fall, whatever the estimator",
        {
            "credit": {"estimator": "bisection", "positivesPerProblem": 1},
            "arms.2.pairs": "lucky-step",
            "arms.2.pairing": {"weight": "advantage"},
        },
    ),
    Case("a filter that no arm uses", {"training.rft.filter": "advantage", "arms.1.rft": {"filter": "none"}}),
    Case("the test split of the training problems' source", {"problems.test": None}),
    Case("another split of it", {"problems.test": {**_ON_HUB, "split": "dev"}}),
    Case("the first problems of the training split as the test", {"problems.test": {**_ON_HUB, "limit": 100}}),
    Case(
        "the first problems of a copy as the test",
        {"problems.train": _COPY, "problems.test": {**_COPY, "limit": 100}},
    ),
    Case("a teacher that runs here", {"teacher": _TEACHER_MODEL}),
    Case("greedy", {"evaluation": {"temperature": 0, "samples": 1}, "teacher.temperature": 0, "teacher.solutions": 1}),
    Case("one process", {"resources": None, "training.sft": {"batchSize": 7, "microBatchSize": 7}}),
    Case("adapters with ZeRO 2", {"resources.sft": {"gpus": 2, "zeroStage": 2}, "training.sft.loraRank": 8}),
    Case("more problems than seeds", {"teacher.newProblemsPerSeed": 3, "problems.sizes": [1000, 12000]}),
    Case("seeds solved once each", {"teacher.newProblemsPerSeed": 0}),
    Case("bounds", {"evaluation.topP": 1, "verification.timeoutSeconds": 60, "problems.holdOut": 0}),
    Case("every taint", {"cluster.defaults.tolerations": [{"operator": "Exists"}]}),
    Case(
        "every kind of volume",
        {
            "cluster.sft.volumes": [
                {"mountPath": "/data", "persistentVolumeClaim": "data", "readOnly": False},
                {"mountPath": "/data.d/.cache", "emptyDir": {}, "readOnly": False},
                {"mountPath": "/tmpfs", "emptyDir": {"size": "10Gi"}, "readOnly": False},
                {"mountPath": "/d", "secret": "keys", "readOnly": True},
            ]
        },
    ),
    Case(
        "template arguments of every type",
        {"policy.prompt": {"style": "chat", "templateArguments": {"enable_thinking": False, "level": 3, "day": "26"}}},
    ),
    Case("suspended", {"suspend": True}),
    Case(
        "a search",
        {
            "search": {
                "seeds": [7, 8],
                "sizes": [500],
                "problems": 300,
                "sft": {"learningRate": [1e-3, 5e-4], "epochs": [8, 16], "loraRank": [8, 16]},
                "rft": {"perProblem": [2, 4], "withTeacher": [True, False], "schedule": ["constant", "cosine"]},
                "dpo": {"beta": [0.1], "nllWeight": [0, 0.5], "weightDecay": [0], "warmupPercent": [0, 10]},
            }
        },
    ),
    Case("a search with seeds by default", {"search": {"dpo": {"beta": [0.1, 0.3]}}}),
]

BAD = [
    Case("no storage", {"storage": None}, "give storage.uri, s3://BUCKET/PREFIX", only_cluster=True),
    Case(
        "a folder as storage", {"storage.uri": "file:///shared"}, "stages in a cluster share no disk", only_cluster=True
    ),
    Case(
        "a local model", {"policy.model": {"path": "base"}}, "no pod sees a folder of your machine", only_cluster=True
    ),
    Case(
        "local data",
        {"problems.train": {"format": "gsm8k", "path": "/data"}},
        "misstep upload prints uri",
        only_cluster=True,
    ),
    Case("data from nowhere", {"problems.train": {"format": "gsm8k"}}, "give hub with revision", only_cluster=True),
    Case("a model from nowhere", {"policy.model": {}}, "give hub with revision", "one of path, hub and uri"),
    Case(
        "two origins",
        {"policy.model.hub": "a/b", "policy.model.revision": COMMIT},
        "one of path, hub and uri",
    ),
    Case(
        "two origins of data",
        {"problems.train.uri": "s3://a/b", "problems.train.digest": DIGEST},
        "one of path, hub and uri",
    ),
    Case("a model without commit", {"policy.model": {"hub": "a/b"}}, "a model on the Hub needs revision"),
    Case("data without commit", {"problems.train.revision": None}, "a data set on the Hub needs revision"),
    Case("a copy without digest", {"policy.model.digest": None}, "uri and digest belong together"),
    Case("a digest without copy", {"problems.train.digest": DIGEST}, "uri and digest belong together"),
    Case(
        "a teacher without commit",
        {"teacher": {"kind": "model", "model": {"model": {"hub": "a/b"}}}},
        "on the Hub needs revision",
    ),
    Case("strides from a hub", {"problems.train.format": "strides"}, "remove path, hub and uri"),
    Case(
        "strides without tests",
        {"problems.train": {"format": "strides", "limit": 4000}, "problems.test": None},
        "say how many to test on",
    ),
    Case(
        "strides without end",
        {"problems.train": {"format": "strides"}, "problems.test": {"format": "strides", "limit": 9}},
        "say how many with limit",
    ),
    Case(
        "columns of generated problems",
        {
            "problems.train": {"format": "strides", "limit": 4000, "columns": {"question": "q"}},
            "problems.test": {"format": "strides", "limit": 9},
        },
        "remove columns",
    ),
    Case("a solution apart for gsm8k", {"problems.train.columns": {"solution": "s"}}, "set columns.answer, or use"),
    Case(
        "a mark for gsm8k",
        {"problems.train.columns": {"answerAfter": "The answer is:"}},
        "gsm8k takes solution and answer from one column",
    ),
    Case(
        "an answer apart for math",
        {"problems.train.format": "math", "problems.train.columns": {"answer": "a"}},
        "math takes the answer from the box of the solution",
    ),
    Case(
        "an end of the answer without its beginning",
        {"problems.train.format": "table", "problems.train.columns": {"answerBefore": "</answer>"}},
        "answerBefore needs answerAfter",
    ),
    Case("sizes that fall", {"problems.sizes": [2000, 1000]}, "sizes must be in rising order"),
    Case("a size twice", {"problems.sizes": [1000, 1000]}, "sizes must be in rising order"),
    Case(
        "a copy of one split",
        {"problems.train": {"format": "gsm8k", "uri": "s3://a/b", "digest": DIGEST}, "problems.test": None},
        "train.uri is a copy of the training problems only: give test too",
    ),
    Case("one copy for both", {"problems.train": _COPY}, "train and test are the same problems: give separate test"),
    Case("one split for both", {"problems.test": _ON_HUB}, "train and test are the same problems: give separate test"),
    Case(
        "the test split for both",
        {"problems.train.split": "test", "problems.test": None},
        "train and test are the same problems: give separate test",
    ),
    Case("a template without question", {"policy.prompt.template": "Q"}, "template must contain {question}"),
    Case("few rollouts", {"credit.rollouts": 4}, "must be at least bestOf"),
    Case("few rollouts by default", {"credit": {"rollouts": 4}}, "must be at least bestOf"),
    Case("greedy samples", {"evaluation.temperature": 0}, "at temperature 0 all samples are the same"),
    Case(
        "greedy samples, with a fraction", {"evaluation.temperature": 0.0}, "at temperature 0 all samples are the same"
    ),
    Case("pass@8 of 4", {"evaluation.passAt": [1, 8]}, "needs at least as many samples as k"),
    Case("names twice", {"arms.1.name": "sft"}, "arms must have different names"),
    Case("two baselines", {"arms": _TWO_SFT}, "exactly one arm must have method sft"),
    Case("no baseline", {"arms": [{"name": "a", "method": "rft"}]}, "exactly one arm must have method sft"),
    Case("dpo without pairs", {"arms.2.pairs": None}, "pairs belongs to method dpo, and dpo needs it"),
    Case("pairs without dpo", {"arms.1.pairs": "random"}, "pairs belongs to method dpo, and dpo needs it"),
    *(
        Case(
            f"settings of {method} elsewhere",
            {f"arms.{arm}.{method}": {"epochs": 1}},
            f"settings {method} belong to method {method}",
            f"settings {method} do not belong to method",
        )
        for method, arm in (("sft", 1), ("rft", 0), ("dpo", 0))
    ),
    Case(
        "true first errors of other problems",
        {"teacher": None, "arms.2.pairs": "oracle-pit"},
        "known for problems.train.format strides, long-strides only",
        "known for problems.train.format strides, long-strides, not for gsm8k",
    ),
    Case(
        "true first errors of a teacher's problems",
        {**_STRIDES, "arms.2.pairs": "oracle-pit"},
        "not known for problems that a teacher writes; set teacher.newProblemsPerSeed to 0",
    ),
    Case("pairing without pairs", {"arms.1.pairing": {"perNegative": 2}}, "pairing belongs to method dpo"),
    Case(
        "two rules for the chosen side",
        {"arms.2.pairs": "edit-distance", "arms.2.pairing": {"chosen": "shortest"}},
        "pairing.chosen: pairs edit-distance, teacher say themselves which side is chosen",
    ),
    Case(
        "weights without a pit",
        {"arms.2.pairs": "random", "arms.2.pairing": {"weight": "advantage"}},
        "pairing.weight: advantage belongs to pairs of a pit",
    ),
    *(
        Case(
            f"weights after {estimator}{where}",
            {"credit.estimator": estimator, field: {"weight": "advantage"}},
            "take adaptive or full-scan",
        )
        for estimator, where, field in (
            ("sequential", "", "pairs"),
            ("bisection", " of an arm", "arms.2.pairing"),
        )
    ),
    Case(
        "weights of arms by default",
        {"credit.estimator": "sequential", "pairs": {"weight": "advantage"}, "arms": None},
        "take adaptive or full-scan",
    ),
    Case("lucky steps without credit", {"arms.2.pairs": "lucky-step"}, "set credit.positivesPerProblem"),
    Case(
        "a filter without credit",
        {"training.rft.filter": "advantage"},
        "training.rft.filter: advantage needs credit of correct solutions: set credit.positivesPerProblem",
        "training.rft.filter: advantage (arm rft) needs credit of correct solutions: set credit.positivesPerProblem",
    ),
    Case(
        "an arm's filter without credit",
        {"arms.1.rft": {"filter": "advantage"}},
        "set credit.positivesPerProblem, or filter to none",
    ),
    Case("a filter of arms by default", {"training.rft.filter": "advantage", "arms": None}, "or filter to none"),
    Case("SFT from an arm", {"arms.0.from": "dpo"}, "from belongs to methods rft and dpo"),
    Case("from no arm", {"arms.1.from": "dop"}, "from that names no arm", "arm rft has from: dop, which is not an arm"),
    Case("from itself", {"arms.2.from": "dpo"}, "arms start from one another in a circle"),
    Case("a circle", {"arms.1.from": "dpo", "arms.2.from": "rft"}, "arms start from one another in a circle"),
    Case("an arm's own size", {"arms.2.sizes": [1000, 7]}, "sizes that problems.sizes lacks"),
    Case("a seed twice", {"seeds": [1, 1]}, "seeds must be different numbers of zero or more"),
    Case("a seed below zero", {"seeds": [-1]}, "seeds must be different numbers of zero or more"),
    Case("a seed of search and report", {"search": {"seeds": [5, 1]}}, "apart from the report's"),
    Case("a seed of search and report by default", {"search": {}, "seeds": [0, 100]}, "apart from the report's"),
    Case("a search's seed twice", {"search": {"seeds": [7, 7]}}, "search.seeds must be different numbers"),
    Case("a search's size twice", {"search": {"sizes": [7, 7]}}, "search.sizes lists each size once"),
    Case(
        "more than there are",
        {"teacher": None, "problems.sizes": [1000, 5000]},
        "is above problems.train.limit: raise limit",
        "is above problems.train.limit, 4000",
    ),
    Case("more than a teacher writes", {"problems.sizes": [1000, 5000]}, "problems that a teacher can write or solve"),
    Case("one price", {"teacher.endpoint.budget.pricePerMillionInput": None}, "belong together: give both or neither"),
    Case("no prices", {"teacher.endpoint.budget": {"maxCost": 1}}, "maxCost needs pricePerMillionInput"),
    Case(
        "prices of nothing",
        {"teacher.endpoint.budget.pricePerMillionInput": 0, "teacher.endpoint.budget.pricePerMillionOutput": 0.0},
        "one of them above zero",
    ),
    Case(
        "a full address", {"teacher.endpoint.url": "https://a.org/v1/chat/completions/"}, "leave out /chat/completions"
    ),
    Case("an endpoint for a data set", {"teacher.kind": "dataset"}, "endpoint belongs to kind endpoint"),
    Case("an endpoint by default", {"teacher.kind": None}, "endpoint belongs to kind endpoint"),
    Case(
        "no endpoint",
        {"teacher": {"kind": "endpoint"}},
        "endpoint belongs to kind endpoint",
        "kind endpoint needs endpoint",
    ),
    Case("no local model", {"teacher": {"kind": "model"}}, "model belongs to kind model", "kind model needs model"),
    Case("both teachers", {"teacher.model": _TEACHER_MODEL["model"]}, "model belongs to kind model"),
    Case("one solution four times", {"teacher.temperature": 0}, "all solutions are the same: set solutions to 1"),
    Case(
        "one problem twice",
        {"teacher.temperature": 0, "teacher.solutions": 1, "teacher.newProblemsPerSeed": 2},
        "set newProblemsPerSeed to 1",
    ),
    Case(
        "one name for two models",
        {"teacher": _TEACHER_MODEL, "policy.model.name": "teacher"},
        "rename one of them",
        "rename one of them",
    ),
    Case("processes beside GPUs", {"resources.sample.processesPerNode": 2}, "must be gpus", "must be gpus, 1"),
    *(
        case
        for arm, method in enumerate(("sft", "rft", "dpo"))
        for case in (
            Case(
                f"rows of {method} that do not divide",
                {f"training.{method}.microBatchSize": 48},
                "microBatchSize must divide batchSize",
                "must divide batchSize",
            ),
            Case(
                f"rows of an arm of {method} that do not divide",
                {f"arms.{arm}.{method}": {"microBatchSize": 48}},
                "microBatchSize must divide batchSize",
                "must divide batchSize",
            ),
            Case(
                f"a batch of {method} over three",
                {"resources": {method: {"nodes": 3}}},
                f"batchSize of {method} must be a multiple of the processes",
                f"training.{method}.batchSize, 64, must be a multiple of the 3 processes",
            ),
            Case(
                f"an arm's batch of {method} over two",
                {f"arms.{arm}.{method}": {"batchSize": 7, "microBatchSize": 7}},
                f"batchSize of {method} must be a multiple of the processes",
                "must be a multiple of the",
            ),
            Case(
                f"a micro-batch of {method} over two",
                {
                    f"training.{method}.microBatchSize": 64,
                    f"training.{method}.batchSize": 128,
                    "resources.default.gpus": 4,
                },
                f"microBatchSize of {method} times its processes",
                "processes (resources: nodes x processesPerNode, or gpus) must divide batchSize",
            ),
            Case(
                f"adapters of {method} with ZeRO 3",
                {f"training.{method}.loraRank": 8, f"resources.{method}": {"zeroStage": 3}},
                f"loraRank of {method}: adapters cannot be trained with zeroStage 3",
                "adapters cannot be trained with zeroStage 3",
            ),
            Case(
                f"an arm's adapters of {method} with ZeRO 3",
                {f"arms.{arm}.{method}": {"loraRank": 8}, "resources.default.zeroStage": 3},
                f"loraRank of {method}: adapters cannot be trained with zeroStage 3",
                "adapters cannot be trained with zeroStage 3",
            ),
        )
    ),
    Case("no key", {"cluster.sft.tolerations": [{"value": "a"}]}, "give key, or operator: Exists"),
    Case(
        "a value of any",
        {"cluster.defaults.tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
        "remove value, or set operator to Equal",
    ),
    Case(
        "seconds of no effect",
        {"cluster.defaults.tolerations": [{"key": "a", "tolerationSeconds": 1}]},
        "tolerationSeconds belongs to effect NoExecute",
    ),
    Case("a variable twice", {"cluster.defaults.env.1.name": "A"}, "env needs different names"),
    Case(
        "a place twice",
        {"cluster.defaults.volumes.1.mountPath": "/etc/misstep/ca"},
        "volumes need different mountPaths",
    ),
    Case(
        "a place inside another", {"cluster.defaults.volumes.1.mountPath": "/etc/misstep/ca/x"}, "none inside another"
    ),
    Case(
        "a volume of nothing", {"cluster.sft.volumes": [{"mountPath": "/a"}]}, "a volume has exactly one of configMap"
    ),
    Case(
        "a volume of two things",
        {"cluster.defaults.volumes.0.emptyDir": {}, "cluster.defaults.volumes.0.readOnly": False},
        "a volume has exactly one of configMap",
    ),
    *(
        Case(
            f"a volume at {place}",
            {"cluster.defaults.volumes.0.mountPath": place},
            "is in a folder of the stage's container: choose another",
        )
        for place in ("/scratch", "/tmp", "/cache", "/dev/shm", "/tmp/certificates")
    ),
    *(
        Case(
            f"an empty folder, read-only {how}",
            {"cluster.sft.volumes": [{"mountPath": "/a", "emptyDir": {}, **more}]},
            "set readOnly: false",
        )
        for how, more in (("by default", {}), ("by will", {"readOnly": True}))
    ),
    Case(
        "a label of no name",
        {"cluster.defaults.nodeSelector": {"": "a"}},
        "names have 1 to 317 characters",
        "at least 1 character",
    ),
]

WRONG = [
    Case("a number in quotes", {"sampling.samples": "16"}),
    Case(
        "a fraction in quotes",
        {"training.dpo.beta": "0.1"},
        'spec.training.dpo.beta in body must be of type number: "string"',
        only_cluster=True,
    ),
    Case("less than zero", {"training.dpo.beta": -0.1}, "beta in body should be greater than or equal to 0"),
    Case("topP above 1", {"evaluation.topP": 1.5}, "topP in body should be less than or equal to 1"),
    Case("topP of 0", {"sampling.topP": 0}, "topP in body should be greater than 0"),
    Case("no time", {"verification.timeoutSeconds": 0.0}, "timeoutSeconds in body should be greater than 0"),
    Case("too much time", {"verification.timeoutSeconds": 60.5}, "timeoutSeconds in body should be less than or equal"),
    Case("less than a step", {"assumptions.steps": 0.5}, "steps in body should be greater than or equal to 1"),
    Case("no money", {"teacher.endpoint.budget.maxCost": 0}, "maxCost in body should be greater than 0"),
    Case("true for a number", {"training.dpo.beta": True}),
    Case("a word for a number", {"sampling.samples": True}),
    Case("a text for a word", {"suspend": "true"}),
    Case("a number for a text", {"cluster.defaults.env.0.value": 1}),
    Case("a number of no kind", {"training.dpo.beta": "much"}),
    Case("an unknown method", {"arms.1.method": "ppo"}),
    Case("too much", {"sampling.samples": 10**8}),
    Case("too little", {"sampling.samples": 0}),
    Case("an unknown unit", {"resources.default.memory": "2GB"}),
    *(
        Case(f"a volume at {place!r}", {"cluster.defaults.volumes.0.mountPath": place})
        for place in ("etc", "/", "", "/a/", "/a//b", "/a/../b", "/a:b", "/a b", f"/{'a' * 256}")
    ),
    Case("a volume of no object", {"cluster.defaults.volumes.0.configMap": "Not_a_name"}),
    Case("too many volumes", {"cluster.sft.volumes": [{"mountPath": f"/a{i}", "secret": "a"} for i in range(17)]}),
    Case("no problems", {"problems": None}),
    Case("a short commit", {"problems.train.revision": "abc"}),
    Case("a short digest", {"policy.model.digest": "sha256:12"}),
    Case("a bucket as a copy", {"policy.model.uri": "s3://bucket"}),
    Case("suspended by a word", {"suspend": "later"}),
    Case("no values to search", {"search": {"dpo": {"beta": []}}}),
    Case("too many values to search", {"search": {"dpo": {"beta": [i / 10 for i in range(1, 10)]}}}),
    Case("a word to search", {"search": {"dpo": {"beta": ["much"]}}}),
    Case("less than zero to search", {"search": {"dpo": {"beta": [-1]}}}),
    Case("too many arms", {"arms": [{"name": f"a{i}", "method": "sft"} for i in range(17)]}),
]
"""Wrong by a field's own type."""
