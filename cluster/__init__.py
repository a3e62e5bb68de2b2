"""A real Kubernetes on one machine, for tests and trials: docs/cluster.md."""
