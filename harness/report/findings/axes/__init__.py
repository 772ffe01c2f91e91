"""Find what a study varied, and how to show it."""
