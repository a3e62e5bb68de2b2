"""Pages on which a researcher checks by eye what the pipeline decided: pits of solutions, and verdicts."""
