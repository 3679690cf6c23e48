"""What runs a method: weights, the inference engine, one run at a time on a device, the run log."""
