"""Write a study's tables, and its methods in words, for terminals and papers."""
