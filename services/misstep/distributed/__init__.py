"""Training with several processes, on one or more nodes: launching ranks, what they share, and their liveness."""
