"""The API server: requests, what the operator asks of it, and its objects as plain data."""
