"""Paired tests, margins and power; ablations, looks and variance: numbers in, numbers out."""
