"""Scores of sampled answers, the worth of a method in problems, and the report."""
