"""Write the sections of a page as HTML, with its styles and scripts."""
