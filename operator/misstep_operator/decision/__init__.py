"""What to do for an Experiment and what its status says, from what was observed. Pure."""
