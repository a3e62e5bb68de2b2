"""A training as several processes, on one node or more: launching ranks, what they share, and whether they live."""
