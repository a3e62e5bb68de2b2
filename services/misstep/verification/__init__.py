"""Verification: the final answer of a response, judged against the gold answer."""
