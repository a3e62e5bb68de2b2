"""From problems to samples: prompts, engines that continue them, and the ``sample`` stage."""
