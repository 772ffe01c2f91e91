"""The report of a study: numbers (``tables``), pictures (``figures``), one HTML page (``page``).

Nothing is imported here: the command line reads ``tables`` without paying for Plotly.
"""
