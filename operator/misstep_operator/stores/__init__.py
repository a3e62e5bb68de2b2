"""Which stores the operator opens, and what it reads there."""
