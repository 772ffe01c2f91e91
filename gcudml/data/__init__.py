"""Images: where they come from, how they are divided, changed and put into batches."""
