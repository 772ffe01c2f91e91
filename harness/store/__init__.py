"""The results database of a folder: open, lock, query, inspect and rebuild it."""
