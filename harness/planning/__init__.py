"""Estimate what a study will cost and which differences it could detect, before it is run."""
