"""Panels: what each tab displays of its results."""
