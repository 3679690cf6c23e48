"""Makes the app's synthetic examples."""
