"""The code around every stage: its parameters, its inputs, and how its work is committed."""
