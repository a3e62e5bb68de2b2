"""How the quickstart's base model and its frozen training settings were made; not part of a run."""
