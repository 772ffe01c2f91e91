"""Score embeddings, with and without labels, and log what single queries found."""
