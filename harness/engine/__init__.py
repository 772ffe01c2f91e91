"""Train what is missing of a study."""
