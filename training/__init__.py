"""Trains, evaluates and publishes the weights of medapp; imports the app and is never imported by it."""
