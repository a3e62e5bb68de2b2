"""Checks of everything that needs a GPU: `python -m tools.gpu_check`, and `make gpu-check`."""
