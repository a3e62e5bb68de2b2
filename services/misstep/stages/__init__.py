"""The shell around every stage: what it is told, what it sees, how its work is committed."""
