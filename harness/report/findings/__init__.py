"""Work out what the numbers mean: answers, claims, estimates, tables for papers."""
