"""Keeps pgvector columns in step with image and text columns, by OpenCLIP's EVA02-CLIP."""

__version__ = "0.1.0"
