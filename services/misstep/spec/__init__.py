"""The Experiment that researchers write: types, loading with helpful errors, field documentation."""

from misstep.spec.experiment import Experiment
from misstep.spec.load import load_experiment, parse_experiment

__all__ = ["Experiment", "load_experiment", "parse_experiment"]
