"""Explain why vLLM does not start, with what to change."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misstep.errors import BadInput, MisstepError

if TYPE_CHECKING:
    from misstep.plan.frozen import Resources

FIELD = "spec.sampling.vllmArgs"
REFUSALS = (ValueError, TypeError, AssertionError, KeyError, NotImplementedError)
"""What vLLM raises: pydantic's errors are ValueErrors; some settings are checked by assertions, some by lookups."""


def refused_settings(
    error: Exception,
    engine_args: Callable[..., Any],
    own: dict[str, Any],
    given: dict[str, Any],
    model_folder: Path,
) -> BadInput:
    """Find out whether the user's arguments or the model cause vLLM's refusal of its arguments.

    Args:
        engine_args: vLLM's ``EngineArgs``.
        own: arguments that Misstep sets.
        given: arguments that the user sets.
    """

    def refusal(**some: Any) -> Exception | None:
        try:
            engine_args(**(own | some)).create_engine_config()
        except REFUSALS as problem:
            return problem
        return None

    if given and refusal() is None:
        for name, value in given.items():
            alone = refusal(**{name: value})
            if alone is not None:
                return BadInput(FIELD, f"{name} = {value!r}", f"vLLM refuses it: {_reason(alone)}")
        return BadInput(FIELD, ", ".join(given), f"vLLM refuses them together: {_reason(error)}")
    return _unsupported(error, model_folder)


def refused_start(error: Exception, resources: Resources, given: dict[str, Any], model_folder: Path) -> BadInput:
    """Explain why vLLM accepts its settings but does not start: too little of a resource, or else the cause."""
    reason = _reason(error)
    if "memory" in reason.lower() and "cache" in reason.lower():
        return _too_little_memory(reason, resources)
    if given:
        return BadInput(FIELD, ", ".join(given), f"vLLM does not start with this: {reason}.")
    return _unsupported(error, model_folder)


def failed_start(error: OSError | RuntimeError, resources: Resources) -> MisstepError:
    """Running again may help if a port or a GPU's memory was in use; the log has the rest."""
    reason = _reason(error)
    if type(error).__name__ == "OutOfMemoryError":
        return _too_little_memory(reason, resources)
    if getattr(error, "errno", None) == errno.EADDRINUSE or "EADDRINUSE" in str(error):
        return MisstepError(
            f"vLLM's processes could not communicate because a port is in use: {reason}. "
            "Set VLLM_PORT to a free one, or unset it, and run again."
        )
    return MisstepError(f"vLLM did not start: {reason}")


def _too_little_memory(reason: str, resources: Resources) -> BadInput:
    name, value, fix = (
        ("gpuMemoryPercent", f"{resources.gpu_memory_percent}", "raise it, give the stage more gpus")
        if resources.gpus
        else ("memory", f"{resources.memory_mib}Mi", "raise it")
    )
    return BadInput(
        f"spec.resources.sample.{name} (or credit.{name})",
        value,
        f"Too little for the model's whole context: {fix}, or lower max_model_len in {FIELD}. vLLM says: {reason}",
    )


def _unsupported(error: Exception, model_folder: Path) -> BadInput:
    return BadInput(
        "model", str(model_folder), f"vLLM refuses it: {_reason(error)}. The engine transformers may take it."
    )


def _reason(error: Exception) -> str:
    """Return the sentence with the reason, without pydantic's heading and links."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = next((line for line in lines if line.startswith(("Value error, ", "Assertion failed, "))), None)
    if said is None:  # pydantic writes a heading, the argument's name, and the reason
        said = lines[2] if len(lines) > 2 and "validation error" in lines[0] else lines[0]
    return said.removeprefix("Value error, ").removeprefix("Assertion failed, ").split(" [type=")[0].rstrip(".")
