"""Losses that methods share: plain functions, tensors in, scalar out, no state, no device moves.

Shape letters: ``batch`` rows, ``dim`` embedding width. A negative label means "unassigned".
"""
