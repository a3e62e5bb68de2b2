"""Credit assignment: find the step at which a wrong response went wrong, and build preference pairs from it."""
