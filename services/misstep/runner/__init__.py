"""A plan on one machine: schedule, fork server, progress."""
