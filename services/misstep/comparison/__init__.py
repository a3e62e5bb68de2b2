"""Several Experiments side by side: settings that differ, curves, and what methods are worth."""
