"""Volumes to pictures: planes, charts and meshes. They take volumes that lie in the patient."""
