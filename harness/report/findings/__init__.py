"""Say what the numbers mean."""
