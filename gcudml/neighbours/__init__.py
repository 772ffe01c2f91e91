"""Nearest neighbours and k-means; the home of faiss."""
