TRANSFORMERS = ""
WAYS: dict[str, str] = {}
TOKENS: dict[str, int] = {}
NOTES: dict[str, str] = {}
NOT_BUILT: dict[str, str] = {}
