"""Values of medical images: volumes, grids, deformations, label and index maps; no file formats."""
