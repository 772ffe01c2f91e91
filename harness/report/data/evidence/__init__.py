"""Read what was computed of a study beyond its scores: claims, readings, shares, classes."""
