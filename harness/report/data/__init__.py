"""Load what a page shows from the database."""
