"""Propose the next trial of a search, and stop bad ones early; the home of Optuna."""
