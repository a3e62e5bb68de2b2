"""Plan an Experiment as content-addressed stages: pure, shared by every executor."""
