"""From an Experiment to content-addressed stages: pure, shared by every executor."""
