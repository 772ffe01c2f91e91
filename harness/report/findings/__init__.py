"""Say what the numbers mean: answer, sentences, tables, and the methods in words."""
