"""Runs a study: starts, watches, retries and resumes its runs, and stores their results."""
