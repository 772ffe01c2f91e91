"""Evaluation of embeddings, with and without labels, and the files a run writes about it."""
