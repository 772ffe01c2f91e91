"""Read from the database what a page shows."""
