"""Where wrong responses went wrong, and the preference pairs that say so."""
