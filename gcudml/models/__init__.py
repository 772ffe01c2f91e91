"""Embedding networks: backbones, heads, momentum teacher, inference and number format."""
