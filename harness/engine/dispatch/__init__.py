"""Decide which run starts next, which driver owns it, and what follows a failure."""
