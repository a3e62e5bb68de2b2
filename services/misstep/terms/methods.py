"""The methods that an experiment compares, by name."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["sft", "rft", "dpo"]
METHODS: tuple[Method, ...] = get_args(Method)
"""In the order in which they stand in an Experiment."""
