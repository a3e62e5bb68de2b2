"""The plan of an Experiment: made once for each generation, and kept in a ConfigMap."""
