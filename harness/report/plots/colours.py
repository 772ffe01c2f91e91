"""Colours and dashes of the pictures: safe for the colour-blind, some set by the page."""

INK = "#010203"
"""Placeholder for the text colour, which the page's script sets for light or dark mode."""
PAPER = "#fefdfc"
"""Placeholder for the background colour."""
BASELINE = "#808080"
ACCENT = "#0072b2"
BEST = "#d55e00"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#f0e442")
"""Okabe and Ito's colour-blind-safe palette, without black."""
RAMP = (ACCENT, "#4f86ab", "#8c9299", "#b07845", BEST)
"""From low to high: safe for the colour-blind, and visible on light and dark backgrounds."""
CONTROL_DASHES = ("dash", "dot", "dashdot", "longdash")
