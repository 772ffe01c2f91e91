"""Scores of embeddings, with and without labels, and what a run writes down about them."""
