"""Teachers: a language model writes new problems from seeds, and step-by-step solutions."""
