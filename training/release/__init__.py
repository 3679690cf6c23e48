"""Installs, converts and publishes weights, and publishes the app."""
