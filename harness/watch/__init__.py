"""Serve a live page of a running study."""
