"""Load the images that a page shows: retrieved ones, maps of them, thumbnails."""
