"""Trains the methods, one file a method, named like its pipeline."""
