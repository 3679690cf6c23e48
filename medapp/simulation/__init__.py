"""What scanners and microscopes do to an image: fewer photons, fewer counts, coarser optics. Torch and nothing of ours.

Arrays come in and go out as numpy; inside, everything is float32 torch without gradients, on the CPU or a GPU.
"""
