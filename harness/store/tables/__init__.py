"""Tables and views of the database, and the ingest that fills them with what runs have logged."""
