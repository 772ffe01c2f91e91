"""Images: find, decode, cache, split by class, augment and batch them."""
