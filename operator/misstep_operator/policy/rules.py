"""The chart's ``policy.rules``: what Experiments of a namespace may name. Pure.

The first rule whose ``namespaces`` match applies. Each of its other fields is a list of allowed names. A list that is
given replaces the default below. In every list ``*`` matches any characters, also none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, ValidationError

from misstep.errors import BadInput
from misstep.spec.fields import SpecModel

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-A-Za-z0-9._/*]+$")]
"""A name in which ``*`` matches any characters."""
Names = Annotated[tuple[Name, ...], Field(max_length=128)]

TUNING = (
    *("CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES"),
    *("GLOO_SOCKET_IFNAME", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET", "HF_HUB_DOWNLOAD_TIMEOUT"),
    *("HF_HUB_ETAG_TIMEOUT", "HF_HUB_OFFLINE", "HF_XET_HIGH_PERFORMANCE", "HTTPS_PROXY", "https_proxy"),
    *("MISSTEP_CACHE_BYTES", "MISSTEP_CHECKPOINT_SECONDS", "MISSTEP_LOG_FORMAT", "MISSTEP_METRICS_PORT"),
    *(
        "MISSTEP_PEER_TIMEOUT",
        "MISSTEP_START_TIMEOUT",
        "MISSTEP_STEP_TIMEOUT",
        "MKL_NUM_THREADS",
        "NCCL_ALGO",
        "NCCL_BUFFSIZE",
    ),
    *("NCCL_CROSS_NIC", "NCCL_CUMEM_ENABLE", "NCCL_DEBUG", "NCCL_DEBUG_SUBSYS", "NCCL_IB_*", "NCCL_MAX_NCHANNELS"),
    *("NCCL_MIN_NCHANNELS", "NCCL_NET_GDR_LEVEL", "NCCL_NSOCKS_PERTHREAD", "NCCL_NVLS_ENABLE", "NCCL_P2P_*"),
    *("NCCL_PROTO", "NCCL_SHM_DISABLE", "NCCL_SOCKET_*", "NO_PROXY", "no_proxy", "OMP_NUM_THREADS"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TOKENIZERS_PARALLELISM", "TORCH_NCCL_ASYNC_ERROR_HANDLING"),
    *("TORCH_NCCL_BLOCKING_WAIT", "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC", "TRANSFORMERS_VERBOSITY"),
    *("VLLM_ATTENTION_BACKEND", "VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_LOGGING_LEVEL"),
)
"""Environment variables that every Experiment may set: they tune, and neither run nor open anything. ``HTTP_PROXY`` is
not one of them, since a proxy for ``http`` sees the content, which one for ``https`` does not."""

GUARDED = (
    # The loader, the C library, a shell or an interpreter reads them before or instead of the stage's program.
    *("LD_*", "GLIBC_*", "MALLOC_*", "GCONV_PATH", "LOCPATH", "NLSPATH", "PYTHON*", "BASH*", "ENV", "IFS", "PS4"),
    *("PROMPT_COMMAND", "SHELL*", "PATH", "CDPATH", "HOME", "USER", "TMPDIR", "TEMP", "TMP", "XDG_*", "NODE_*"),
    *("PERL*", "RUBY*", "JAVA_*", "JDK_*", "_JAVA_*", "GIT_*"),
    # They name a library, a plug-in, a compiler or a folder of code that the stage's libraries load.
    *("OPENSSL_*", "KRB5*", "CUDA_INJECTION*", "CUDA_CACHE_PATH", "NVIDIA_*", "OMP_TOOL*", "NCCL_*PLUGIN*"),
    *("NCCL_CONF_FILE", "UCX_*", "FI_*", "TRITON_*", "TORCH*EXTENSIONS*", "TORCHINDUCTOR_*", "CC", "CXX", "*FLAGS"),
    *("MPLBACKEND", "MPLCONFIGDIR", "VLLM_PLUGINS", "VLLM_ALLOW_*", "HF_HOME", "HF_*CACHE*", "TRANSFORMERS_CACHE"),
    # They are identities, or say where requests with them go.
    *("AWS_*", "BOTO*", "AZURE_*", "GOOGLE_*", "CLOUDSDK_*", "GCE_*", "KUBERNETES_*", "HF_TOKEN_PATH", "HF_ENDPOINT"),
    *("HTTP_PROXY", "ALL_PROXY", "SSL_*", "*CA_BUNDLE", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS"),
    # They belong to the stage.
    *("MISSTEP_*", "MASTER_*", "RANK", "LOCAL_RANK", "WORLD_SIZE", "JOB_COMPLETION_INDEX"),
)
"""Environment variables that no Experiment may set, whatever a rule says, except those in `TUNING`. The chart's
``stages.defaults.env`` may set them. In upper or lower case, since some programs read proxies in either."""

PROGRAM_FOLDERS = (
    *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "opt", "proc", "root", "run", "sbin", "sys"),
    *("usr", "var"),
)
"""Folders below the root with files of the image, the kernel or the kubelet. A mount there would hide them."""
CERTIFICATE_FOLDERS = (
    *("/etc/misstep/", "/etc/ssl/", "/etc/pki/", "/usr/share/ca-certificates/", "/usr/local/share/ca-certificates/"),
)
"""Where in those folders ``spec.storage.caBundle`` may be."""
HUB_TOKEN = "HF_TOKEN"  # noqa: S105 (the variable's name)


TrackerPlace = Annotated[str, Field(pattern=r"^(wandb|https?://[^\s/@?#*\\]+(/[^\s@?#\\]*)?)$", max_length=500)]


class TeacherRule(SpecModel):
    """One teacher that may be asked, and keys that it may be sent."""

    url: str = Field(pattern=r"^https?://[^\s/@?#*\\]+(/[^\s@?#\\]*)?$", max_length=500)
    """`spec.teacher.endpoint.url`; `*` may stand behind the host, for example `https://llm.example.com/*`."""
    secrets: Names = ()
    """Secrets whose entries may be sent there, whatever the entries are called."""
    env: Names = ()
    """Variables that may be sent there, which stages have from the chart: `stages.envSecret`, `stages.defaults.env`."""


class Rule(SpecModel):
    """What Experiments of some namespaces may name. A list that is given replaces its default."""

    namespaces: Names
    """The namespaces that the rule is for. The first rule that fits holds; where none fits, no Experiment runs."""
    service_accounts: Names = ()
    """Service accounts of pods, and with them identities of a cloud, besides the one that the chart gives to stages."""
    priority_classes: Names = ()
    """PriorityClasses, and those of Kueue: one above others' lets pods push theirs aside."""
    runtime_classes: Names = ("nvidia*",)
    """RuntimeClasses."""
    tolerations: Names = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/*", "habana.ai/gaudi")
    """Keys of taints that pods may run in spite of; `*` lets a toleration of every taint pass."""
    node_labels: Names = ("*",)
    """Keys of `nodeSelector`."""
    secrets: Names = ("*",)
    """Secrets of the namespace: in `spec.secrets`, as volumes and to pull images with."""
    config_maps: Names = ("*",)
    """ConfigMaps of the namespace, as volumes."""
    claims: Names = ("*",)
    """PersistentVolumeClaims of the namespace, as volumes and for `modelCacheClaim`."""
    env: Names = ()
    """Environment variables besides those that only tune. Variables that act before the program does, or that are the
    store's or the stage's own, no rule allows: they belong in `stages.defaults.env`."""
    labels: Names = ("kueue.x-k8s.io/*",)
    """Keys of pods' labels. Services, network policies and cloud identities choose pods by labels."""
    annotations: Names = (
        *("cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt", "kueue.x-k8s.io/*"),
    )
    """Keys of pods' annotations."""
    gpu_resources: Names = ("nvidia.com/*", "amd.com/gpu", "gpu.intel.com/*", "habana.ai/gaudi")
    """What `gpuResource` may be."""
    engine_arguments: Names = (
        *("async_scheduling", "attention_backend", "block_size", "calculate_kv_scales", "cpu_offload_gb"),
        *("disable_custom_all_reduce", "disable_sliding_window", "enable_chunked_prefill", "enable_expert_parallel"),
        *("enable_prefix_caching", "enforce_eager", "kv_cache_dtype", "max_model_len", "max_num_*", "num_*_override"),
        *("pipeline_parallel_size", "quantization", "scheduling_policy", "swap_space"),
    )
    """Names in `vllmArgs`. Others name code to load (`worker_cls`, `trust_remote_code`), files, or addresses."""
    teachers: Annotated[tuple[TeacherRule, ...], Field(max_length=64)] | None = None
    """Teachers behind an API; left out, any may be asked. A key is sent to one where the Secret's entry is called as
    the URL's host (`api.openai.com`, with a port `llm.example.com_8443`), or where it is listed here."""
    trackers: Annotated[tuple[TrackerPlace, ...], Field(max_length=64)] | None = None
    """Trackers that pods may log into: `wandb`, and MLflow's `spec.tracking.mlflow.uri`, where `*` may stand behind the
    host (`https://mlflow.example.com/*`). Left out, any. Another one keeps no Experiment from running: no pod logs into
    it."""


class PlatformPolicy(SpecModel):
    """The rules, in order."""

    rules: Annotated[tuple[Rule, ...], Field(max_length=64)] = (Rule(namespaces=("*",)),)

    def rule(self, namespace: str) -> tuple[int, Rule] | None:
        """Return the first rule for a namespace, with its number."""
        return next(((i, rule) for i, rule in enumerate(self.rules) if fits(namespace, rule.namespaces)), None)


LISTS = tuple(name for name in Rule.model_fields if name not in ("namespaces", "teachers", "trackers"))
"""Fields of a rule that are lists of allowed names."""


def pattern(names: Sequence[str]) -> str:
    """Return names with ``*`` as one regular expression without anchors, for Python's ``re`` and for RE2."""
    return "|".join(".*".join(map(re.escape, name.split("*"))) for name in names)


def fits(value: str, names: Sequence[str]) -> bool:
    """Return whether a value matches one of the names."""
    return bool(names) and re.fullmatch(pattern(names), value, re.DOTALL) is not None


def is_guarded(variable: str) -> bool:
    """Return whether no Experiment may set a variable."""
    return re.fullmatch(pattern(GUARDED), variable, re.IGNORECASE) is not None


def read_policy(text: str, name: str) -> PlatformPolicy:
    """Read the chart's ``policy.rules`` from JSON. Raises BadInput, whose field begins with ``name``."""
    if not text.strip():
        return PlatformPolicy()
    try:
        return PlatformPolicy.model_validate_json(f'{{"rules": {text}}}')
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    fix = f"{first['msg'].removeprefix('Value error, ')}. Correct it in the chart's values."
    raise BadInput(f"{name}: policy{path}", first["input"], fix)
