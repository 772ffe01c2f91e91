"""Unsupervised deep metric learning: images, embeddings and losses, and no study."""
