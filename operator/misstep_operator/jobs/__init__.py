"""The Job, pod and Service of a stage."""
