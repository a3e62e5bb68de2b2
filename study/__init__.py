"""The study of why credit helps: experiments, their figures and pictures (README.md)."""
