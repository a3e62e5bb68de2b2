"""Scores of sampled answers, what a method is worth in problems, and the report."""
