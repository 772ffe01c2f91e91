"""A live page over a running study."""
