"""Volumes, deformations and tables as pictures, Plotly charts, surfaces and HTML; no torch, no Gradio."""
