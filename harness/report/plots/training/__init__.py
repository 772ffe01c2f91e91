"""Draw what runs reported while they trained."""
