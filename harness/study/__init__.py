"""The study file and its plan."""
