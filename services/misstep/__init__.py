"""Misstep turns a language model's own wrong solutions into training data."""

__version__ = "0.1.0"
