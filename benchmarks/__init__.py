"""Measures time, memory, load and robustness of the app."""
