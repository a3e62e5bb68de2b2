"""Experiments that the platform's policy refuses, each an attack, and honest ones that it must accept.

The operator's function and the API server judge the same ones (``test_pods.py``, ``test_admission.py``).
"""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

from misstep_operator.policy.rules import PlatformPolicy, read_policy
from tests.operator import crd_cases

DEFAULT, LOCKED, NOWHERE = "free-1", "team-a", "elsewhere"
"""Namespaces: with a rule's defaults, with a rule of its own, and without a rule."""
RULES: list[dict[str, Any]] = [
    {
        "namespaces": [LOCKED],
        "serviceAccounts": ["team-a-*"],
        "priorityClasses": ["low"],
        "runtimeClasses": [],
        "tolerations": ["*"],
        "nodeLabels": ["pool"],
        "secrets": ["hugging-face", "teacher-*"],
        "configMaps": ["store-ca"],
        "claims": ["models"],
        "env": ["*"],
        "labels": ["team"],
        "annotations": [],
        "engineArguments": ["max_*"],
        "teachers": [
            {"url": "https://llm.example.com/*", "secrets": ["teacher-*"], "env": ["SHARED_KEY"]},
            {"url": "https://api.openai.com/v1"},
        ],
    },
    {"namespaces": ["free-*"]},
]
POLICY: PlatformPolicy = read_policy(json.dumps(RULES), "rules")


class Case(NamedTuple):
    """One Experiment."""

    name: str
    """Who would gain what; or what an honest user wants."""
    change: dict[str, Any]
    """Dotted path below ``spec`` -> new value, as in ``crd_cases``."""
    field: str = ""
    """The field that the refusal names; empty where it is allowed."""
    namespace: str = DEFAULT
    labels: dict[str, str] = {}  # noqa: RUF012 (never written)


def document(case: Case, name: str = "case") -> dict[str, Any]:
    """Build a case's Experiment."""
    made = crd_cases.experiment(crd_cases.Case(case.name, {"cluster": {}, "teacher": None, **case.change}), name)
    made["metadata"] |= {"namespace": case.namespace, "labels": dict(case.labels)}
    return made


def pods(**settings: Any) -> dict[str, Any]:
    return {"cluster.defaults": settings}


def variable(name: str, value: str = "/code") -> dict[str, Any]:
    return pods(env=[{"name": name, "value": value}])


def mounted(path: str, **source: Any) -> dict[str, Any]:
    return pods(volumes=[{"mountPath": path, **(source or {"configMap": "my-code"})}])


def teacher(url: str, key: str | None = "TEACHER_KEY", *secrets: dict[str, str]) -> dict[str, Any]:
    endpoint = {"url": url, "model": "large", **({"apiKeyEnv": key} if key else {})}
    return {"teacher": {"kind": "endpoint", "endpoint": endpoint}, "secrets": list(secrets)}


def secret(env: str, name: str, key: str) -> dict[str, str]:
    return {"env": env, "secret": name, "key": key}


OPENAI, EVIL = "https://api.openai.com/v1", "https://evil.example.com/v1"
DB = secret("TEACHER_KEY", "prod-db", "password")
_ENV, _VOLUME = "spec.cluster.defaults.env[0].name", "spec.cluster.defaults.volumes[0].mountPath"

ATTACKS = [
    Case(
        "a tenant runs pods under another program's account, with its cloud identity",
        pods(serviceAccount="deploy-bot"),
        "spec.cluster.defaults.serviceAccount",
    ),
    Case(
        "... for one kind of stage alone",
        {"cluster.sft.serviceAccount": "deploy-bot"},
        "spec.cluster.sft.serviceAccount",
    ),
    Case(
        "a tenant pushes other teams' pods off the nodes",
        pods(priorityClass="system-node-critical"),
        "spec.cluster.defaults.priorityClass",
    ),
    Case(
        "a tenant goes before other teams in Kueue's queue",
        {},
        "metadata.labels[kueue.x-k8s.io/priority-class]",
        labels={"kueue.x-k8s.io/priority-class": "urgent"},
    ),
    Case(
        "a tenant runs on the control plane's nodes",
        pods(tolerations=[{"operator": "Exists"}], nodeSelector={"node-role.kubernetes.io/control-plane": ""}),
        "spec.cluster.defaults.tolerations[0]",
    ),
    Case(
        "... with the one taint by name",
        pods(tolerations=[{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]),
        "spec.cluster.defaults.tolerations[0]",
    ),
    Case(
        "a tenant takes a runtime that isolates less",
        pods(runtimeClass="runc-privileged"),
        "spec.cluster.defaults.runtimeClass",
    ),
    *(
        Case(f"a tenant's code runs in stages, before the program, through {name}", variable(name), _ENV)
        for name in (
            *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "BASH_ENV"),
            *("ENV", "GCONV_PATH", "PATH", "HOME", "NODE_OPTIONS", "OPENSSL_CONF", "GLIBC_TUNABLES", "CC"),
            *("CUDA_INJECTION64_PATH", "NCCL_NET_PLUGIN", "OMP_TOOL_LIBRARIES", "VLLM_PLUGINS", "MPLBACKEND"),
        )
    ),
    *(
        Case(f"a tenant sends stages' credentials or requests elsewhere, through {name}", variable(name), _ENV)
        for name in (
            *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"),
            *("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HF_ENDPOINT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
        )
    ),
    *(
        Case(f"a tenant changes the stage's own variable {name}", variable(name), _ENV)
        for name in ("MISSTEP_MASTER_ADDR", "MISSTEP_TERMINATION_LOG", "MISSTEP_SCRATCH", "RANK")
    ),
    Case("a tenant sees all GPUs of a node", variable("NVIDIA_VISIBLE_DEVICES", "all"), _ENV),
    Case("... where a rule allows every other variable", variable("LD_PRELOAD"), _ENV, LOCKED),
    Case("... in another case of letters, which some programs read", variable("Http_Proxy"), _ENV, LOCKED),
    Case(
        "a tenant's ConfigMap replaces the program",
        mounted("/opt/misstep/lib/python3.11/site-packages/misstep"),
        _VOLUME,
    ),
    *(
        Case(f"a tenant's files hide those in {path}", mounted(path), _VOLUME)
        for path in ("/usr/lib/python3", "/etc/ssl/certs", "/lib64", "/var/run/secrets", "/bin", "/etc")
    ),
    Case(
        "a narrow role reads a Secret that is none of its own, as a volume",
        mounted("/mnt/s", secret="prod-db"),
        "spec.cluster.defaults.volumes[0]",
        LOCKED,
    ),
    Case(
        "... as a variable",
        {"secrets": [secret("HF_TOKEN", "prod-db", "password")]},
        "spec.secrets[0].secret",
        LOCKED,
    ),
    Case(
        "... as a key for a registry",
        pods(imagePullSecrets=["prod-db"]),
        "spec.cluster.defaults.imagePullSecrets[0]",
        LOCKED,
    ),
    Case(
        "a narrow role writes a claim that is none of its own",
        mounted("/mnt/d", persistentVolumeClaim="prod-db", readOnly=False),
        "spec.cluster.defaults.volumes[0]",
        LOCKED,
    ),
    Case(
        "... as a cache, whose files' group the kubelet changes",
        pods(modelCacheClaim="prod-db"),
        "spec.cluster.defaults.modelCacheClaim",
        LOCKED,
    ),
    Case(
        "a narrow role mounts a ConfigMap that is none of its own",
        mounted("/mnt/c"),
        "spec.cluster.defaults.volumes[0]",
        LOCKED,
    ),
    Case(
        "a narrow role chooses nodes that are none of its own",
        pods(nodeSelector={"zone": "b"}),
        "spec.cluster.defaults.nodeSelector.zone",
        LOCKED,
    ),
    Case(
        "a tenant's pods get memory in place of GPUs, in addition to what the quota counts",
        pods(gpuResource="memory"),
        "spec.cluster.defaults.gpuResource",
    ),
    Case(
        "... or a device that opens the node", pods(gpuResource="github.com/fuse"), "spec.cluster.defaults.gpuResource"
    ),
    Case(
        "a tenant's pods answer for another program's Service",
        pods(labels={"app": "payments"}),
        "spec.cluster.defaults.labels.app",
    ),
    Case(
        "a tenant's pods get a cloud identity by label",
        pods(labels={"azure.workload.identity/use": "true"}),
        "spec.cluster.defaults.labels.azure.workload.identity/use",
    ),
    *(
        Case(
            f"a tenant's pods get an identity or a sidecar by {key}",
            pods(annotations={key: "admin"}),
            f"spec.cluster.defaults.annotations.{key}",
        )
        for key in ("iam.amazonaws.com/role", "sidecar.istio.io/inject", "vault.hashicorp.com/agent-inject")
    ),
    Case(
        "a Secret is sent to a tenant's server as a teacher's key",
        teacher(EVIL, "TEACHER_KEY", DB),
        "spec.secrets[0].key",
    ),
    Case(
        "another teacher's key is sent to a tenant's server",
        teacher(EVIL, "TEACHER_KEY", secret("TEACHER_KEY", "teacher", "api.openai.com")),
        "spec.secrets[0].key",
    ),
    *(
        Case(
            f"... whose address looks like the teacher's: {url}",
            teacher(url, "TEACHER_KEY", secret("TEACHER_KEY", "teacher", "api.openai.com")),
            "spec.secrets[0].key",
        )
        for url in (
            *("https://api.openai.com.evil.example.com/v1", "https://evil.example.com/api.openai.com"),
            *("https://api.openai.com:8443/v1", "https://api.openai.com\\.evil.example.com/v1"),
        )
    ),
    Case(
        "the store's own key is sent to a tenant's server",
        teacher(EVIL, "AWS_SECRET_ACCESS_KEY"),
        "spec.teacher.endpoint.apiKeyEnv",
    ),
    Case(
        "the Hub's token is sent to a tenant's server",
        teacher(EVIL, "HF_TOKEN", secret("HF_TOKEN", "hugging-face", "token")),
        "spec.secrets[0].key",
    ),
    Case(
        "a path that leads out of the listed one gets its key",
        teacher("https://llm.example.com/a/../mine", "TEACHER_KEY", secret("TEACHER_KEY", "teacher-1", "key")),
        "spec.teacher.endpoint.url",
        LOCKED,
    ),
    Case(
        "training data is sent to a server that no one has listed",
        teacher(EVIL, None),
        "spec.teacher.endpoint.url",
        LOCKED,
    ),
    Case(
        "a listed teacher is sent a Secret that is not listed for it",
        teacher(OPENAI, "TEACHER_KEY", secret("TEACHER_KEY", "teacher-1", "key")),
        "spec.secrets[0].key",
        LOCKED,
    ),
    *(
        Case(
            f"a Secret's content becomes {name}",
            {"secrets": [secret(name, "my-library", "x")]},
            "spec.secrets[0].env",
        )
        for name in ("LD_PRELOAD", "PYTHONPATH", "AWS_ENDPOINT_URL", "DB")
    ),
    Case(
        "a Secret's content is printed by what cannot understand it",
        {"secrets": [secret("MISSTEP_START_TIMEOUT", "prod-db", "password")]},
        "spec.secrets[0].env",
    ),
    Case(
        "a teacher's key acts before the program does",
        teacher(OPENAI, "LD_PRELOAD", secret("LD_PRELOAD", "teacher", "api.openai.com")),
        "spec.secrets[0].env",
    ),
    *(
        Case(
            f"a tenant's model brings code along, through {name}",
            {"sampling": {"engine": "vllm", "vllmArgs": [{"name": name, "value": "true"}]}},
            "spec.sampling.vllmArgs[0].name",
        )
        for name in ("trust_remote_code", "worker_cls", "load_format", "logits_processors")
    ),
    *(
        Case(f"stages read {path} as certificates", {"storage.caBundle": path}, "spec.storage.caBundle")
        for path in ("/proc/self/environ", "/etc/misstep/../shadow", "/dev/zero", "ca.pem", "/root/.aws/credentials")
    ),
    Case("an Experiment in a namespace that no rule is for", {}, "metadata.namespace", NOWHERE),
]

HONEST = [
    Case("nothing", {}),
    Case("nothing, where a rule is narrow", {}, namespace=LOCKED),
    *(
        Case(f"to set {name}", variable(name, "1"))
        for name in (
            *("MISSTEP_START_TIMEOUT", "MISSTEP_STEP_TIMEOUT", "MISSTEP_METRICS_PORT", "MISSTEP_CACHE_BYTES"),
            *("NCCL_DEBUG", "NCCL_IB_DISABLE", "NCCL_SOCKET_IFNAME", "HTTPS_PROXY", "no_proxy", "OMP_NUM_THREADS"),
            *("HF_HUB_DOWNLOAD_TIMEOUT", "PYTORCH_CUDA_ALLOC_CONF", "VLLM_LOGGING_LEVEL"),
        )
    ),
    Case("a gated model", {"secrets": [secret("HF_TOKEN", "hugging-face", "token")]}),
    Case(
        "a gated model, where a rule is narrow", {"secrets": [secret("HF_TOKEN", "hugging-face", "token")]}, "", LOCKED
    ),
    Case("a teacher without a key", teacher("http://vllm:8000/v1", None)),
    Case(
        "a teacher with its key",
        teacher(OPENAI, "TEACHER_KEY", secret("TEACHER_KEY", "teacher", "api.openai.com")),
    ),
    Case(
        "a teacher's key that is called in small letters",
        teacher("https://API.OpenAI.com/v1", "TEACHER_KEY", secret("TEACHER_KEY", "teacher", "api.openai.com")),
    ),
    Case(
        "a teacher at a port",
        teacher("http://vllm.models:8000", "VLLM_KEY", secret("VLLM_KEY", "teacher", "vllm.models_8000")),
    ),
    Case(
        "a listed teacher",
        teacher("https://llm.example.com/v1", "TEACHER_KEY", secret("TEACHER_KEY", "teacher-1", "key")),
        namespace=LOCKED,
    ),
    Case("a listed teacher with the platform's key", teacher("https://llm.example.com/v1", "SHARED_KEY"), "", LOCKED),
    Case(
        "a teacher's key and the Hub's token",
        teacher(
            OPENAI,
            "TEACHER_KEY",
            secret("HF_TOKEN", "hugging-face", "token"),
            secret("TEACHER_KEY", "teacher", "api.openai.com"),
        ),
    ),
    Case(
        "a store with certificates of its own",
        {"storage.caBundle": "/etc/misstep/ca/ca.pem", **mounted("/etc/misstep/ca", configMap="store-ca")},
    ),
    Case("certificates in a Secret", {"storage.caBundle": "/mnt/ca/ca.pem", **mounted("/mnt/ca", secret="store-ca")}),
    Case("the image's certificates", {"storage.caBundle": "/etc/ssl/certs/ca-certificates.crt"}),
    Case("a cache for models", pods(modelCacheClaim="models")),
    Case("a folder on the node", mounted("/data", emptyDir={"size": "1Gi"}, readOnly=False)),
    Case(
        "nodes with GPUs",
        pods(
            tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            nodeSelector={"pool": "gpu"},
            runtimeClass="nvidia",
            gpuResource="nvidia.com/mig-3g.40gb",
            imagePullSecrets=["registry"],
        ),
    ),
    Case(
        "Kueue",
        {"cluster.dpo.annotations": {"kueue.x-k8s.io/podset-required-topology": "rack"}},
        labels={"kueue.x-k8s.io/queue-name": "research"},
    ),
    Case(
        "engine settings",
        {
            "sampling": {
                "engine": "vllm",
                "vllmArgs": [{"name": "max_model_len", "value": "2048"}, {"name": "enforce_eager", "value": "true"}],
            }
        },
    ),
    Case(
        "what its rule lists",
        {
            **pods(
                serviceAccount="team-a-writer",
                priorityClass="low",
                tolerations=[{"operator": "Exists"}],
                nodeSelector={"pool": "x"},
                labels={"team": "a"},
                env=[{"name": "MY_OWN", "value": "1"}],
                volumes=[{"mountPath": "/mnt/ca", "configMap": "store-ca"}],
            ),
            "secrets": [secret("HF_TOKEN", "hugging-face", "token"), secret("MY_SECRET", "teacher-2", "x")],
        },
        namespace=LOCKED,
        labels={"kueue.x-k8s.io/priority-class": "low"},
    ),
    Case("more variables than anyone has, in every kind of stage", {"cluster": {}}),
]
_MANY = [{"name": f"NCCL_IB_{'X' * 20}{i}", "value": "1"} for i in range(64)]
HONEST[-1].change["cluster"] = {
    kind: {"env": _MANY}
    for kind in (
        *("defaults", "problems", "inspect", "synthesize", "curate", "sft", "sample", "verify", "rft", "credit"),
        *("pairs", "dpo", "score", "report"),
    )
}


def drawn(number: int, seed: int = 0) -> list[Case]:
    """Experiments that are put together at random from what is allowed somewhere and what is nowhere."""
    draw = random.Random(seed)
    found = []
    for i in range(number):
        change: dict[str, Any] = {}
        for kind in draw.sample(["defaults", "sft", "sample", "report"], draw.randint(0, 2)):
            settings = {field: draw.choice(values) for field, values in _POOL.items() if draw.random() < 0.12}
            change[f"cluster.{kind}"] = settings
        if draw.random() < 0.5:
            url = draw.choice(
                [OPENAI, "https://llm.example.com/v1", "http://vllm:8000", "https://llm.example.com/x%2e"]
            )
            key = draw.choice([None, "TEACHER_KEY", "SHARED_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"])
            entries = ["api.openai.com", "vllm_8000", "llm.example.com", "token"]
            envs = ["TEACHER_KEY", "HF_TOKEN", "SHARED_KEY", "MY_SECRET", "LD_PRELOAD", "NO_PROXY"]
            secrets = [
                secret(env, draw.choice(["hugging-face", "teacher-1", "prod-db"]), draw.choice(entries))
                for env in draw.sample(envs, draw.randint(0, 2))
            ]
            change |= teacher(url, key, *secrets)
        label = {"kueue.x-k8s.io/priority-class": draw.choice(["low", "high"])} if draw.random() < 0.1 else {}
        found.append(Case(f"drawn {i}", change, namespace=draw.choice([DEFAULT, DEFAULT, LOCKED]), labels=label))
    return found


_POOL: dict[str, list[Any]] = {
    "serviceAccount": ["team-a-writer", "team-a", "default", "deploy-bot"],
    "priorityClass": ["low", "high"],
    "runtimeClass": ["nvidia", "nvidia-cdi", "kata"],
    "tolerations": [[{"key": "nvidia.com/gpu", "operator": "Exists"}], [{"operator": "Exists"}], []],
    "nodeSelector": [{"pool": "a"}, {"zone": "b", "pool": "a"}],
    "imagePullSecrets": [["teacher-2"], ["registry", "teacher-2"]],
    "env": [
        [{"name": "NCCL_DEBUG", "value": "INFO"}],
        [{"name": "MY", "value": "1"}, {"name": "NO_PROXY", "value": "a"}],
        [{"name": "Aws_Region", "value": "x"}],
        [{"name": "MISSTEP_X", "value": "x"}],
    ],
    "volumes": [
        [{"mountPath": "/etc/misstep/ca", "configMap": "store-ca"}, {"mountPath": "/mnt/x", "secret": "teacher-1"}],
        [{"mountPath": "/etc/misstep-ca", "configMap": "store-ca"}],
        [{"mountPath": "/data", "persistentVolumeClaim": "models"}, {"mountPath": "/x", "secret": "other"}],
        [{"mountPath": "/usr", "emptyDir": {}, "readOnly": False}],
    ],
    "modelCacheClaim": ["models", "models2"],
    "labels": [{"team": "a"}, {"kueue.x-k8s.io/x": "a"}, {"kueue.x-k8s.io/x": "a", "team": "a"}],
    "annotations": [{"karpenter.sh/do-not-disrupt": "true"}, {"x": "y"}, {}],
    "gpuResource": ["nvidia.com/gpu", "cpu", "amd.com/gpu"],
}
