"""The loop: which operator leads, when an Experiment is reconciled, and reconciling it."""
