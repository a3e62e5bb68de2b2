"""Sampling: prompts, engines that continue them, and the ``sample`` stage."""
