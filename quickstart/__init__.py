"""How the quickstart's base model and its training settings were made; not part of a run."""
