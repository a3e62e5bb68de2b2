"""What `misstep credit` was asked, and the description by which a second run knows that it continues the first."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from misstep.artifacts.digest import digest_path
from misstep.errors import BadInput
from misstep.plan.frozen import Resources
from misstep.plan.params import CreditParams, PromptParams
from misstep.standalone.columns import Columns
from misstep.terms.verdict import VERIFIER_VERSION

FORMAT = 1
"""Of the folder. Raise it when a change of code makes other results or files."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that decides the result, and the resources, which do not."""

    file: Path
    model: str
    """A folder, or ``hf://org/name@revision``."""
    columns: Columns
    prompt: PromptParams | None
    """None: the chat template where there is one, else the question and a newline."""
    credit: CreditParams
    join: str = "\n"
    own: bool = False
    """The responses are samples of this very model, prompt and temperature."""
    block: int = 32
    """Problems in a block."""
    pairs_per_problem: int = 8
    resources: Resources = field(default_factory=Resources)

    def description(self, model_digest: str, prompt: PromptParams) -> dict[str, Any]:
        """Return what decides the result, as JSON.

        Args:
            model_digest: of the model's files.
            prompt: the prompt that is used.
        """
        return {
            "format": FORMAT,
            "file": digest_path(self.file, "FILE"),
            "model": model_digest,
            "columns": self.columns.asked,
            "join": self.join,
            "prompt": prompt.model_dump(mode="json"),
            "credit": self.credit.model_dump(mode="json"),
            "own": self.own,
            "block": self.block,
            "pairs_per_problem": self.pairs_per_problem,
            "verifier": VERIFIER_VERSION,
        }


def check(settings: Settings) -> Settings:
    """Refuse settings that exclude each other; return them without those that their estimator does not use.

    Raises:
        BadInput: naming the option.
    """
    credit = settings.credit
    if credit.rollouts < credit.best_of:
        raise BadInput(
            "--rollouts",
            credit.rollouts,
            f"Best-of-{credit.best_of} needs at least {credit.best_of} rollouts: raise --rollouts or lower --best-of.",
        )
    if credit.estimator != "adaptive":
        credit = credit.model_copy(update={"target_error": None, "budget": None, "budget_tokens": None})
    return replace(settings, credit=credit)


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Name what differs between two descriptions, with both values; empty if they are equal."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            inner = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
            found += [f"{key} was {_short(old.get(key))}, now {_short(new.get(key))}" for key in inner]
        elif name in ("file", "model"):
            found.append(f"the {name}'s contents are others")
        else:
            found.append(f"{name} was {_short(old)}, now {_short(new)}")
    return "; ".join(found)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
