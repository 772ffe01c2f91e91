"""Images: sources, splits, decoding and caching, augmentation, and batches."""
