"""Estimates how long the runs of a study take, and notes this to compare it with what they took."""
