"""Write what all sections are made of: text, layout and tables."""
