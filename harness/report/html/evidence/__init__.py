"""Write the sections on what was tested, chosen and claimed."""
