"""Say what the numbers mean: answer, claims, tables, and the methods in words."""
