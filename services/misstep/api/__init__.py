"""``misstep.Experiment``: what the command line does, as a library for scripts and notebooks."""
