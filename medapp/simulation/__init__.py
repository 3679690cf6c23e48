"""Simulated degradation: fewer photons, fewer counts, coarser optics. Torch and numpy, and nothing else of the app.

Arrays come in and go out as numpy; inside, everything is float32 torch without gradients, on the CPU or a GPU.
"""
