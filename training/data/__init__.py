"""Reads and makes up what the methods learn from."""
