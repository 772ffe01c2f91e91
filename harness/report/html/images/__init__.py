"""Write the sections with pictures of the data."""
