"""The study file: reading it, validating it, and planning its trials."""
