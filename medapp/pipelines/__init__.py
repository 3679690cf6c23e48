"""Pipelines: one method a file, a function and its card."""
