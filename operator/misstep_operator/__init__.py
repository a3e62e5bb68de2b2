"""The operator: Experiments in a Kubernetes cluster become Jobs, and Jobs become status."""
