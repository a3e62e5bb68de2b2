"""The status of an Experiment, and the columns that ``kubectl get`` prints."""

from __future__ import annotations

from typing import Any

from misstep.plan.state import StageState


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _number(description: str) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "description": description}


def _one_of(values: list[str]) -> str:
    *most, last = (f"`{value}`" for value in values)
    return f"{', '.join(most)} or {last}."


CONDITION: dict[str, Any] = {
    "type": "object",
    "description": "One aspect of the state, as Kubernetes writes conditions.",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": _text(
            "`Succeeded`, `Failed`, `Suspended`, `Progressing`, `StoreReadable` or `Tracked`.", maxLength=316
        ),
        "status": _text("Whether the condition holds.", enum=["True", "False", "Unknown"]),
        "observedGeneration": _number("The generation of the Experiment that the condition is about.") | {"minimum": 0},
        "lastTransitionTime": _text("When `status` last changed.", format="date-time"),
        "reason": _text("The cause in one word.", maxLength=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
        "message": _text("The cause as a sentence.", maxLength=32768),
    },
}

STAGE: dict[str, Any] = {
    "type": "object",
    "description": "One stage of the plan.",
    "required": ["name", "key", "kind", "state"],
    "properties": {
        "name": _text("Name in the plan, for example `sft-d250-s0`."),
        "key": _text("The folder of its result in the store, and the beginning of the names of its Jobs."),
        "kind": _text("What it does: `problems`, `sft`, `sample`, ..."),
        "state": _text(_one_of([state.value for state in StageState if state is not StageState.UNKNOWN])),
        "attempt": _number("The number of its current or last Job. The first is 1."),
        "ignoredAttempts": _number(
            "How many attempts do not count as failures: those before the last edit or retry, and disrupted ones."
        ),
        "lastDisruptedAttempt": _number("The last attempt that an eviction or the loss of a node ended."),
        "waitStartTime": _text(
            "When it began to wait for another Experiment that computes the same stage. The wait has a limit.",
            format="date-time",
        ),
        "percent": _number("How much of its work is done."),
        "message": _text("Why it waits or failed, or a warning about its result."),
    },
}

STATUS: dict[str, Any] = {
    "type": "object",
    "description": "How far the experiment is. The operator writes it.",
    "properties": {
        "observedGeneration": _number("The generation of the Experiment that the status is about."),
        "observedRetry": _text("The last value of the annotation `misstep.dev/retry` that the operator acted on."),
        "state": _text("`Waiting`, `Running`, `Suspended`, `Succeeded`, `Failed` or `Invalid`."),
        "message": _text("What prevents progress, and what to do about it. Empty where nothing does."),
        "runningStages": _text("Names of the stages that run."),
        "completed": _number("Number of stages whose result is in the store."),
        "total": _number("Number of stages in the plan."),
        "progress": _text("`completed` and `total`, for example `12/40`."),
        "eta": _text("Time until the running stages are done, where they report it."),
        "planDigest": _text(
            "sha256 of this generation's plan, which is kept in a ConfigMap. A plan with another digest is refused."
        ),
        "storeHash": _text("Hash of the store's address that the states of stages are about."),
        "report": _text("Address of the report, once it is there."),
        "conditions": {
            "type": "array",
            "description": "Conditions, one of each type.",
            "items": CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
        "stages": {
            "type": "array",
            "description": "All stages, in the order of the plan.",
            "items": STAGE,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    },
}

COLUMNS: list[dict[str, Any]] = [
    {"name": "State", "type": "string", "jsonPath": ".status.state"},
    {"name": "Stages", "type": "string", "jsonPath": ".status.runningStages"},
    {"name": "Progress", "type": "string", "jsonPath": ".status.progress"},
    {"name": "ETA", "type": "string", "jsonPath": ".status.eta"},
    {"name": "Message", "type": "string", "jsonPath": ".status.message"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]
