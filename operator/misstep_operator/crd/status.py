"""What an Experiment's status holds, and what of it ``kubectl get`` prints."""

from __future__ import annotations

from typing import Any


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _number(description: str) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "description": description}


CONDITION: dict[str, Any] = {
    "type": "object",
    "description": "One aspect of the state, as Kubernetes writes conditions.",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": _text("`Succeeded`, `Failed`, `Suspended`, `Progressing` or `StoreReadable`.", maxLength=316),
        "status": _text("Whether it holds.", enum=["True", "False", "Unknown"]),
        "observedGeneration": _number("The generation of the Experiment that this is about.") | {"minimum": 0},
        "lastTransitionTime": _text("When `status` changed last.", format="date-time"),
        "reason": _text("The cause in one word.", maxLength=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
        "message": _text("The cause for people.", maxLength=32768),
    },
}

STAGE: dict[str, Any] = {
    "type": "object",
    "description": "One stage of the plan.",
    "required": ["name", "key", "kind", "state"],
    "properties": {
        "name": _text("Name in the plan, for example `sft-d250-s0`."),
        "key": _text("Where its artifact lies in the store, and the start of its Jobs' names."),
        "kind": _text("What it does: `problems`, `sft`, `sample`, ..."),
        "state": _text("`waiting`, `ready`, `taken`, `running`, `ending`, `done` or `failed`."),
        "attempt": _number("Which Job of the stage this is, from 1."),
        "base": _number("Attempts that no longer count, since the Experiment was edited or told to try again."),
        "forgiven": _number("The last attempt that was cut short by an eviction or the loss of a node."),
        "takenSince": _number(
            "When it began to wait for another Experiment's Job, in seconds since 1970: it does not wait for ever."
        ),
        "percent": _number("How much of its work is done."),
        "message": _text("Why it waits or failed, or what it warns of."),
    },
}

STATUS: dict[str, Any] = {
    "type": "object",
    "description": "How far the experiment is; written by the operator.",
    "properties": {
        "observedGeneration": _number("The generation of the Experiment that the status is about."),
        "state": _text("`Waiting`, `Running`, `Suspended`, `Succeeded`, `Failed` or `Invalid`."),
        "why": _text("What stands in the way, for people, with what to do; empty where all goes on."),
        "stage": _text("The stages at work."),
        "done": _number("Stages whose result is in the store."),
        "total": _number("Stages of the plan."),
        "progress": _text("Both, as in `12/40`."),
        "eta": _text("How long the stages at work still take, where they know."),
        "retry": _text("The last request to try again that was heard."),
        "planDigest": _text(
            "sha256 of the plan of this generation, which a ConfigMap keeps; a plan with another one is not taken."
        ),
        "store": _text("A hash of the place that the states of stages are about."),
        "report": _text("Where the report lies once it is made."),
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
    {"name": "Stage", "type": "string", "jsonPath": ".status.stage"},
    {"name": "Progress", "type": "string", "jsonPath": ".status.progress"},
    {"name": "ETA", "type": "string", "jsonPath": ".status.eta"},
    {"name": "Why", "type": "string", "jsonPath": ".status.why"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]
