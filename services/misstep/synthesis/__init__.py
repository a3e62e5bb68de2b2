"""Teachers: language models that write new problems from seeds, and step-by-step solutions."""
