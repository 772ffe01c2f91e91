"""The results database: tables, views, and the ingest of what runs have logged."""
