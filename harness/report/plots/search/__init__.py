"""Draw a search: its history, its axes, what matters in it."""
