"""Losses on embeddings: pure functions from tensors to a scalar, without state or device moves.

Shape letters: ``batch`` rows, ``dim`` embedding width. A negative label means "unassigned".
"""
