"""Say where variance comes from, and cover it with intervals."""
