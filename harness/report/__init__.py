"""Report results as HTML pages, in four steps: read, find, draw, write.

Nothing is imported here: the command line reads data without paying for Plotly.
"""
