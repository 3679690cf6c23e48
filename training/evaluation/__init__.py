"""Scores methods as the app serves them, beside other tools."""
