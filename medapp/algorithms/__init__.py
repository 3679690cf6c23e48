"""Algorithms: the steps that pipelines are made of; training uses them too."""
