"""Network architectures, one a file: torch modules with their paper on top, and nothing of ours but each other."""
