"""Serve a live page of a study while it runs."""
