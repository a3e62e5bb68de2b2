"""The operator: it runs the stages of Experiments as Jobs of a Kubernetes cluster, and writes their status."""
