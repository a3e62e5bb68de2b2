"""The search of settings, ``misstep tune``: what is tried, how it is judged, what is chosen and written."""
