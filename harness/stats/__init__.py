"""Paired tests and power, without any input or output."""
