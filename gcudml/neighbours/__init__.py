"""Nearest neighbours and k-means; the only home of faiss."""
