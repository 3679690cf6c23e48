"""Viewer: NiiVue in the page, and the scenes that Python sends to it."""
