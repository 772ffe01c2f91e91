"""Write the parts of a page."""
