"""Estimate what a study will cost, before it is run."""
