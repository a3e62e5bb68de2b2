"""How each architecture runs: made by tools/architectures.py, not to be edited by hand."""

TRANSFORMERS = ""
WAYS: dict[str, str] = {}
NOTES: dict[str, str] = {}
NOT_BUILT: dict[str, str] = {}
